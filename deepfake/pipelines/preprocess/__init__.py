"""Videos to face crops."""
