"""How fast preprocessing is, beside the loop that people write and beside the floor that no job can pass."""
