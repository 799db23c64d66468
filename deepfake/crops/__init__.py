"""Videos to face crops: cutting them, storing and reading them, and what is done to crops."""
