"""The network, the bundle that it is kept in, its thresholds, and running it."""
