"""How data sets are laid out, one module each."""
