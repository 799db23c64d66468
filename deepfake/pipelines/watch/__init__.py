"""A source as it plays: the running score of each face, a line a frame, and an annotated video."""
