"""A bundle's network for services and phones, compared with the bundle before it is left anywhere."""
