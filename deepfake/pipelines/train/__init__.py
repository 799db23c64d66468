"""Face crops to a model bundle, or several recipes side by side."""
