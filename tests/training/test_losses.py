"""Uniformity and alignment are their formulae, whatever rows a batch has."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake.model import keras_runtime
from deepfake.training.losses import compare_pairs


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_losses_of_the_sphere_are_means_over_the_pairs_that_there_are(count: int) -> None:
    keras_runtime.start_keras(threads=1)
    random = np.random.default_rng(count)
    vectors = random.normal(size=(12, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, here = random.integers(0, 2, 12).astype(np.float32), np.zeros(12, np.float32)
    there = random.permutation(12)[:count]
    here[there] = 1
    pairs = [(i, j) for i in there for j in there if i < j]
    distance = {pair: float(((vectors[pair[0]] - vectors[pair[1]]) ** 2).sum()) for pair in pairs}
    alike = [distance[i, j] for i, j in pairs if labels[i] == labels[j]]
    uniformity, alignment = compare_pairs(vectors, labels, here)
    expected = np.log(np.mean([np.exp(-2 * d) for d in distance.values()])) if pairs else 0.0
    assert float(uniformity) == pytest.approx(expected, abs=1e-5)
    assert float(alignment) == pytest.approx(np.mean(alike) if alike else 0.0, abs=1e-5)
