"""What several workers of a training do together."""
