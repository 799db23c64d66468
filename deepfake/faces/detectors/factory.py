"""Which face detector a configuration means, made ready."""

from deepfake.config import DetectorConfig
from deepfake.errors import UsageError
from deepfake.faces.detectors.base import Detector
from deepfake.faces.detectors.haar import HaarDetector
from deepfake.faces.detectors.yunet import YuNetDetector, carry_model, locate_model, read_model
from deepfake.io.storage import Storage


def resolve_detector(config: DetectorConfig, storage: Storage) -> DetectorConfig:
    """The configuration with ``auto`` replaced by the detector that will run, for the record.

    ``yunet`` is chosen where its model is configured or cached; nothing is downloaded for ``auto``.
    """
    if config.name == "haar":
        return config
    if config.name == "yunet":
        return config.model_copy(update={"yunet_model": locate_model(config, storage, download=True)})
    model = locate_model(config, storage, download=False)
    if model is None:
        return config.model_copy(update={"name": "haar"})
    return config.model_copy(update={"name": "yunet", "yunet_model": model})


def carry_detector(config: DetectorConfig, storage: Storage) -> DetectorConfig:
    """What other machines are given of what ``resolve_detector`` gave: they need no file of this one."""
    return carry_model(config, storage) if config.name == "yunet" else config


def make_detector(config: DetectorConfig, storage: Storage) -> Detector:
    """A detector, loaded and ready; ``config`` as ``resolve_detector`` gave it.

    It uses as many threads as OpenCV is set to: a process that is one of many sets ``cv2.setNumThreads(0)``.
    """
    if config.name == "haar":
        return HaarDetector(config)
    if config.name == "yunet":
        return YuNetDetector(config, read_model(config, storage))
    raise UsageError(f"detector.name {config.name!r} was not resolved")
