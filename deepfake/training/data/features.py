"""Features of a backbone that stands still: computed once for each crop, and learned from instead of it."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from deepfake.config import TrainJobConfig
from deepfake.training.data.epoch_plan import EpochPlan, Share
from deepfake.training.data.loader import Batch
from deepfake.training.distributed.collective import Collective
from deepfake.training.schedule import Phase

_MOST_BYTES = 4e9  # in the memory of each worker


def can_keep_features(config: TrainJobConfig, phase: Phase, crops: int, shown: int, width: int = 1) -> bool:
    """Whether a phase that shows ``shown`` crops an epoch does less by computing features of all ``crops``.

    ``width``: of one crop's features. Crops that are augmented or blended differ in each epoch.
    """
    stands_still = phase.trains == "head" and not config.augment.enabled and config.augment.fakes == "real"
    return stands_still and phase.epochs * shown > crops and 4.0 * crops * width <= _MOST_BYTES


def compute_features(
    extract: Callable[[np.ndarray], np.ndarray],
    width: int,
    stream: Iterable[Batch],
    rows: np.ndarray,
    collective: Collective,
) -> np.ndarray:
    """Features ``(n, width) float32`` of all crops, the same on every worker.

    ``rows (n,)``: their numbers, each once, by positions; ``stream``: this worker's part of them.
    ``extract`` gives ``(k, width)`` of ``(k, size, size, 3) uint8``.
    """
    features = np.zeros((len(rows), width), np.float32)
    for batch in stream:
        features[rows[batch.positions]] = extract(batch.inputs)
    if collective.world > 1:
        collective.prepare(len(rows))
        for column in features.T:  # not all at once: a message for each is small
            column[:] = collective.sum(column)
    return features


class FeatureStream:
    """A worker's batches of one epoch as features, one for each of ``plan.steps``."""

    def __init__(self, features: np.ndarray, plan: EpochPlan, share: Share) -> None:
        """``features (n, d)`` by the numbers of the rows."""
        self._features, self._plan, self._share = features, plan, share

    def __iter__(self) -> Iterator[Batch]:
        stops = np.cumsum(self._share.sizes)
        for positions in np.split(self._share.positions, stops[:-1]):
            yield Batch(self._features[self._plan.rows[positions]], positions)
