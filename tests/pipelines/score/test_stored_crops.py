"""Crops that an earlier job kept, as the input of scoring."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.errors import UsageError
from deepfake.execution.output import Output
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.score import stored_crops
from tests.rows import crop_row, video_row


def test_crops_that_two_jobs_wrote_are_refused(tmp_path: Path) -> None:
    output = Output(str(tmp_path), Storage(), "0" * 64, {"videos": "", "crops": ""})
    output.claim({name: {} for name in ("sampling", "detector", "crop")})
    unit = {
        "videos": tables.from_rows("videos", [video_row("a.mp4", faces=2)]),
        "crops": tables.from_rows("crops", [crop_row("a.mp4", frame) for frame in (0, 10)]),
    }

    def finish() -> None:
        output.write_unit("unit", unit)
        parts = output.list_parts("crops", ["unit"])
        for part in parts:
            output.join_part(part)
        output.finish(unit["videos"], parts)

    finish()
    assert stored_crops.find_kept_crops(str(tmp_path), Storage()) is not None
    finish()
    with pytest.raises(UsageError, match=r"4 crops of a.mp4, of which _manifest.parquet knows 2"):
        stored_crops.find_kept_crops(str(tmp_path), Storage())
