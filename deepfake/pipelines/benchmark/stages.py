"""Single stages of the job, one clip at a time. A process that runs them imports this and no Ray."""

import functools

import cv2

from deepfake.config import DetectorConfig, SamplingConfig, StorageConfig
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.faces.detectors.base import Detector
from deepfake.faces.detectors.factory import make_detector
from deepfake.io.storage import Storage
from deepfake.pipelines.benchmark.baselines import Tally
from deepfake.video.decoder import open_local


def decode_clip(path: str, sampling: SamplingConfig) -> Tally:
    """Open a clip and decode the frames that the sampling keeps; nothing is converted."""
    with open_local(path, sampling) as video:
        return Tally(sum(1 for _ in video.sample()))


def extract_clip(path: str, config: ExtractConfig, storage: StorageConfig) -> tuple[Tally, float, float]:
    """A clip to crops as the job does it; the seconds spent in finding faces, and in cutting them."""
    cv2.setNumThreads(0)  # as in the job
    detector = _load_detector(config.detector, storage)
    video = extract({"video_id": path, "uri": path}, config, detector, Storage()).video
    return Tally(video["frames_sampled"], video["faces"]), video["detect_seconds"], video["crop_seconds"]


@functools.lru_cache(maxsize=2)
def _load_detector(config: DetectorConfig, storage: StorageConfig) -> Detector:
    """Loaded once in each process, as in the job."""
    return make_detector(config, Storage(storage))
