"""Which face detector a configuration means, made ready."""

import logging

from deepfake.config import DetectorConfig
from deepfake.errors import UsageError
from deepfake.faces.detectors.base import Detector
from deepfake.faces.detectors.haar import HaarDetector
from deepfake.faces.detectors.yunet import (
    YuNetDetector,
    carry_model,
    explain_absence,
    locate_model,
    read_model,
)
from deepfake.io.cache import FetchError
from deepfake.io.run_record import parse_section, read_record
from deepfake.io.storage import Storage

log = logging.getLogger(__name__)


def resolve_detector(
    config: DetectorConfig, storage: Storage, earlier: DetectorConfig | None = None
) -> DetectorConfig:
    """The configuration with ``auto`` replaced by the detector that will run, for the record.

    ``auto`` is the detector of ``earlier``, by which rows were made that these shall fit, where there is one;
    else YuNet, or Haar with a warning where YuNet's file cannot be had. Raises ``UsageError`` where one that
    must be YuNet cannot be had.
    """
    if config.name == "auto" and config.yunet_model is None and earlier is not None:
        config = config.model_copy(update={"name": earlier.name, "yunet_model": earlier.yunet_model})
        config = forget_absent_model(config, storage)
    if config.name == "haar":
        return config
    try:
        model = locate_model(config, storage, insist=config.name == "yunet")
    except FetchError as error:
        if config.name == "yunet":
            raise UsageError(
                f"detector yunet: {explain_absence(error)}; --detector.name haar does without, but what was "
                "made with YuNet (a begun output, a bundle's threshold) holds for YuNet only"
            ) from None
        log.warning(
            "Haar finds the faces: in 224 of 296 frames of fakes of 125 labelled clips, YuNet in 294. %s",
            explain_absence(error),
        )
        return config.model_copy(update={"name": "haar"})
    return config.model_copy(update={"name": "yunet", "yunet_model": model})


def read_earlier_detector(root: str, storage: Storage) -> DetectorConfig | None:
    """The detector that an output was begun with; None where there is none."""
    return parse_section(read_record(root, storage) or {}, "detector", DetectorConfig)


def forget_absent_model(recorded: DetectorConfig, storage: Storage) -> DetectorConfig:
    """A recorded configuration for this machine, on which YuNet's file may lie elsewhere."""
    if recorded.yunet_model is None or storage.exists(recorded.yunet_model):
        return recorded
    return recorded.model_copy(update={"yunet_model": None})


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
