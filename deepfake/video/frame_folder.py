"""A folder of pictures as the video whose frames they are, sampled as any other.

The numbers in the pictures' names are the frames' indices in the video, as far as they tell: of frames that
were thinned out when they were taken, ``every_n`` counts those that are absent too, and a fake's are beside
those of its original. How many there were a second is not known; times are as at 25.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from deepfake.config import SamplingConfig
from deepfake.io.frame_files import list_frames, read_numbers
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.video.decoder import VideoFile
from deepfake.video.errors import VideoError
from deepfake.video.frame import Frame
from deepfake.video.image import ImageFile
from deepfake.video.packets import VideoInfo
from deepfake.video.sampling import choose_frames

RATE = 25.0  # frames a second, where nothing tells
_SPARSEST = 1000  # frames of the video for each that is there


class FrameFolder(VideoFile):
    """Like ``VideoFile``, on the pictures directly in a folder; raises ``VideoError`` like it."""

    def __init__(
        self,
        uri: str,
        storage: Storage,
        config: SamplingConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage, self._config, self._clock = storage, config, clock
        self._deadline = clock() + config.timeout_seconds
        self._container = None
        self.damage = None
        self._lost = self._asked = 0
        self.is_image = True  # has no packets
        self.files = list_frames(uri, storage)
        if not self.files:
            raise VideoError(Status.UNREADABLE, "there are no pictures in the folder")
        numbers = np.array([(read_numbers(info.path) or [0])[-1] for info in self.files], np.float64)
        # Else they are of another kind, such as a time of day.
        are_places = bool((np.diff(numbers) > 0).all() and numbers[-1] < _SPARSEST * len(numbers))
        if are_places:
            places = numbers.astype(np.int64) - (numbers[0] == 1)  # counted from 0, or from 1
        else:
            places = np.arange(len(numbers))
        self._places = places  # (pictures,) int64: the index of each picture's frame in the video
        self.times = (places - places[0]) / RATE
        self.keyframes = np.ones(len(self.files), bool)
        first = next((frame for i in range(len(self.files)) if (frame := self._read(i)) is not None), None)
        if first is None:
            raise VideoError(Status.DECODE_ERROR, self.damage or "no picture could be read")
        height, width = first.size
        duration = float(self.times[-1]) + 1 / RATE
        self.info = VideoInfo("frames", width, height, duration, len(self.files))

    def choose_frames(self) -> np.ndarray:
        """(k,) int64: indices in the video of the frames that the sampling policy asks for."""
        chosen, config = np.arange(len(self.files)), self._config
        if config.policy == "every_n":
            _, chosen = np.unique(self._places // config.every_n, return_index=True)
            config = config.model_copy(update={"every_n": 1})
        return self._places[chosen[choose_frames(self.times[chosen], self.keyframes[chosen], config)]]

    def decode_frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Frame]:
        """The frames with these indices ``(k,)`` in the video, in order; one that is damaged is left out."""
        for position in np.flatnonzero(np.isin(self._places, np.asarray(indices, np.int64))).tolist():
            self._check_time()
            self._asked += 1
            frame = self._read(position)
            if frame is None:
                self._lost += 1
            else:
                yield frame

    def _read(self, position: int) -> Frame | None:
        file_info = self.files[position]
        try:
            with self._storage.open(file_info.uri) as file:
                _, picture = next(ImageFile(file, self._check_size).read_pictures({0}))
        except VideoError as error:
            self.damage = self.damage or f"{file_info.path}: {error}"
            return None
        return Frame(int(self._places[position]), float(self.times[position]), picture)
