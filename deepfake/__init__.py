"""Face-forensics videos in, a trained deepfake detector and scored archives out.

The library behind the programs in ``jobs/``. Importing it imports neither Ray nor TensorFlow.
"""

__version__ = "0.1.0"
