"""The page of an archive's scores while the job that makes them still runs."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import ReportConfig
from deepfake.execution.output import Output
from deepfake.io.parts import read_parts
from deepfake.io.uri import join
from deepfake.model.thresholds import Mixer
from deepfake.model.verdicts import VerdictRule
from deepfake.pipelines.score import index_page
from deepfake.progress import repeat

log = logging.getLogger(__name__)

ROWS = 10_000  # in its table at most, so that it is written in a second
SHARE = 0.01  # of the job's time at most
_COLUMNS = [*index_page.COLUMNS, "threshold"]


class LivePage:
    """Writes the page of the units that are done, each of which it reads once.

    ``total`` videos will be in the finished output; the other arguments are those of the finished page.
    """

    def __init__(
        self,
        output: Output,
        total: int,
        config: ReportConfig,
        facts: Mapping[str, object],
        point: VerdictRule,
        archive: str,
        mixer: Mixer = Mixer(),  # noqa: B008 - frozen
    ) -> None:
        self.output, self.total, self.archive, self.mixer = output, total, archive, mixer
        self.config = config.model_copy(update={"rows": min(config.rows, ROWS)})
        self.facts, self.point = facts, point
        self._units: set[str] = set()  # that it has read
        self._videos: pa.Table | None = None  # theirs, and those of an earlier run that are not done again
        self._pictures: set[str] = set()  # names of the thumbnails that are there

    @contextmanager
    def keep_up(self) -> Iterator[None]:
        """Write it every so many seconds while the block runs, and less often where that would cost more."""
        if not self.config.live_seconds:
            yield
            return
        with repeat(self.config.live_seconds, self.write, SHARE):
            yield

    def write(self) -> None:
        """Write the page anew where there is news; where it cannot be written, the job goes on without."""
        try:
            new = sorted(self.output.list_finished_units() - self._units)
            if new:
                self._write(new)
        except (OSError, ValueError) as error:
            log.warning("the page of what is done so far cannot be written: %s", error)

    def _write(self, new: list[str]) -> None:
        output = self.output
        found = output.read_units("video_scores", new).select(_COLUMNS)
        before = self._read_earlier() if self._videos is None else self._videos
        before = before.filter(pc.invert(pc.is_in(before["video_id"], found["video_id"].combine_chunks())))
        videos = pa.concat_tables([before, found])
        order = index_page.sort_by_suspicion(videos)
        first = videos["video_id"].take(order[: self.config.max_thumbnails]).combine_chunks()
        pictures = output.read_units("evidence", new).select(["video_id", "image"])
        pictures = pictures.filter(pc.is_in(pictures["video_id"], first))
        index_page.write_index(
            output.root,
            output.storage,
            videos,
            order,
            dict(zip(pictures["video_id"].to_pylist(), pictures["image"].to_pylist(), strict=True)),
            self.config,
            self.facts,
            point=self.point,
            archive=self.archive,
            unfinished=index_page.Unfinished(
                self.total, datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), self._pictures
            ),
            mixer=self.mixer,
        )
        self._videos = videos
        self._units.update(new)

    def _read_earlier(self) -> pa.Table:
        """The videos of an earlier, finished run of this output, whose thumbnails are there as well."""
        folder, storage = join(self.output.root, index_page.THUMBNAILS), self.output.storage
        if storage.is_folder(folder):
            self._pictures.update(info.path for info in storage.list_files(folder))
        if self.output.read_finished_videos(["video_id"]) is None:
            return self.output.read_units("video_scores", []).select(_COLUMNS)
        return read_parts(self.output.root, storage, "video_scores", _COLUMNS)
