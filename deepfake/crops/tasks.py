"""What a decoder is asked to do with one video: plain functions, which the sandbox runs."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from deepfake.crops import chunks, pictures, watching
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, attempt, extract
from deepfake.faces.detectors.base import Detector
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.video.source import open_frames
from deepfake.video.transcoding import recompress

Asked = Mapping[str, Any]
# A catalog row, what is asked of it, a table that goes with that, and what every task gets.
Task = Callable[[Asked, Asked, pa.Table | None, ExtractConfig, Detector, Storage], ExtractionResult]


def extract_recompressed(
    entry: Asked, crf: int, folder: str, config: ExtractConfig, detector: Detector, storage: Storage
) -> ExtractionResult:
    """Crops of a video after it was compressed again; the copy is made in a folder of the caller's."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        target = Path(name, "again.mp4")

        def work(video: dict[str, Any]) -> None:
            with open_frames(entry["uri"], storage, config.sampling) as source:
                recompress(source, target, crf)
            video["status"] = Status.OK

        made = attempt(entry, detector.name, work)
        if made["status"] != Status.OK:
            return ExtractionResult(made, tables.from_rows("crops", []))
        found = extract({**entry, "uri": str(target)}, config, detector, storage)
    return ExtractionResult({**found.video, "uri": entry["uri"]}, found.table)


TASKS: dict[str, Task] = {
    "extract": lambda entry, asked, table, *rest: extract(entry, *rest),
    "survey": lambda entry, asked, table, *rest: chunks.survey_packets(entry, asked["piece_seconds"], *rest),
    "look": lambda entry, asked, table, *rest: chunks.find_piece_faces(
        entry, tuple(asked["bounds"]), table, *rest
    ),
    "show": lambda entry, asked, table, *rest: pictures.show_frames(
        entry, asked["faces"], asked["side"], *rest
    ),
    "recompress": lambda entry, asked, table, *rest: extract_recompressed(
        entry, asked["crf"], asked["folder"], *rest
    ),
    "watch": lambda entry, asked, table, *rest: watching.watch_frame(entry, asked, *rest),
}
# The table that each answers with, beside a row of ``videos``.
ANSWERS = {
    "extract": "crops",
    "survey": "packets",
    "look": "pieces",
    "show": "pictures",
    "recompress": "crops",
    "watch": "watched",
}
