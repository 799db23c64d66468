"""Videos to face crops: catalog -> units of work -> crops -> Parquet.

What happens to one video is in ``deepfake.crops.extraction``, what makes the job resumable in
``deepfake.execution.unit_job``.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from deepfake.config import PreprocessJobConfig, hash_config
from deepfake.crops import detection_rate
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import long_videos, pools, runner, session, unit_job
from deepfake.execution.attempts import Attempt
from deepfake.execution.output import Output
from deepfake.execution.unit_job import UnitJob
from deepfake.execution.unit_worker import (
    UNIT_ID,
    ExtractCrops,
    attempt_unit,
    count_unit,
    make_answer,
    read_unit_id,
)
from deepfake.execution.work_units import Unit
from deepfake.faces.detectors.factory import read_earlier_detector, resolve_detector
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.outcome import Outcome
from deepfake.pipelines.preprocess import contact_sheets

log = logging.getLogger(__name__)

FOLDERS = {"videos": "", "crops": ""}


def run(config: PreprocessJobConfig) -> Outcome:
    """Do the whole job.

    Raises ``UsageError`` where the input or the output folder is wrong.
    """
    storage = Storage(config.storage)
    output = make_absolute(config.output)
    detector = resolve_detector(config.detector, storage, read_earlier_detector(output, storage))
    config = config.model_copy(
        update={"input": make_absolute(config.input), "output": output, "detector": detector}
    )
    return PreprocessJob(config, storage).run()


class PreprocessJob(UnitJob[PreprocessJobConfig]):
    """One run of preprocess, its URIs absolute and its detector resolved."""

    def __init__(self, config: PreprocessJobConfig, storage: Storage) -> None:
        identity = hash_config(config)
        super().__init__(config, Output(config.output, storage, identity, FOLDERS), identity)

    @property
    def made_by(self) -> str:
        return f"detector {self.config.detector.name}"

    def describe(self) -> dict[str, Any]:
        sections = {"catalog", "sampling", "detector", "crop"}
        return {"input": self.config.input, **self.config.model_dump(mode="json", include=sections)}

    def share_long_videos(self, waiting: list[Unit], extraction: ExtractConfig) -> list[Unit]:
        return long_videos.share_pieces(waiting, extraction, self.config.ray, self.output)

    def make_units(self, units: list[Unit], extraction: ExtractConfig | None) -> runner.Answers:
        assert extraction is not None
        extract = ExtractCrops(extraction, self.storage, self.output.config_sha256)
        blocks = [runner.make_block(unit) for unit in units]
        workers = pools.await_workers(self.config.ray, len(units))
        return runner.run_on_workers(blocks, MakeUnit, {"extract": extract, "output": self.output}, workers)

    def make_tables_of_copies(self, copies: pa.Table) -> Mapping[str, pa.Table]:
        return {"crops": tables.from_rows("crops", [], self.output.config_sha256)}

    def report(self, left: int) -> tuple[dict[str, Any], list[str]]:
        videos = self.output.read_finished_videos()
        assert videos is not None
        write_yield(videos, self.output, self.config.detector.name)
        numbers = unit_job.count_videos(videos)
        numbers["frames_with_face"] = sum(videos["frames_with_face"].to_pylist())
        return numbers, write_sheets(self.output) if numbers["faces"] else []


class MakeUnit:
    """One unit's videos to crops, written to the output; answers its ``videos`` rows."""

    def __init__(self, extract: ExtractCrops, output: Output) -> None:
        self._extract, self._output = extract, output
        extract.prepare()

    def __call__(self, block: pa.Table) -> pa.Table:
        began = time.monotonic()

        def make(attempt: Attempt) -> pa.Table:
            made = self._extract(block, attempt)
            self._output.write_unit(made.pop(UNIT_ID), made)
            count_unit(made["videos"])
            return make_answer(made["videos"], began)

        return attempt_unit(read_unit_id(block), make)


def write_sheets(output: Output) -> list[str]:
    """The contact sheets, in place of those of an earlier run; their URIs."""
    output.storage.remove(join(output.root, contact_sheets.FOLDER))
    sheets = contact_sheets.plan_sheets(output.root, output.storage)
    size = sum(info.size for info in output.storage.list_files(output.root))
    if size <= runner.SMALL_BYTES:  # workers would take longer to start
        return contact_sheets.draw_sheets(sheets, output.storage)
    calls = [([sheet], output.storage) for sheet in sheets]
    return [uri for uris in session.spread(contact_sheets.draw_sheets, calls, small=False) for uri in uris]


def write_yield(videos: pa.Table, output: Output, detector: str) -> None:
    """The yield table as ``_yield.csv``; a warning where it differs between the classes."""
    rows = detection_rate.count_yield(videos)
    tables.write_csv(output.storage, join(output.root, "_yield.csv"), pa.Table.from_pylist(rows))
    log.info("faces found\n%s", detection_rate.format_yield(rows))
    if words := detection_rate.explain_difference(rows, detector):
        log.warning("%s", words)
