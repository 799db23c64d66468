"""Faces: detectors behind one protocol, tracks through a video, and the one crop function."""
