"""The life of a job through units: planned, claimed, done once, told in a summary."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.config import DetectorConfig, PreprocessJobConfig, RayConfig, SamplingConfig
from deepfake.errors import UsageError
from deepfake.execution.unit_job import count_videos
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.io.tables import PROGRAM_FAULT
from deepfake.outcome import Outcome
from deepfake.pipelines.preprocess.pipeline import PreprocessJob
from tests.clips import write_clip
from tests.rows import video_row

STORAGE = Storage()


@pytest.fixture
def config(tmp_path: Path) -> PreprocessJobConfig:
    """Two clips of moving shapes, and a text; nobody has a face."""
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / "in" / name, frames=4 if name == "a.mp4" else 6)
    (tmp_path / "in" / "c.mp4").write_text("no video at all")
    return PreprocessJobConfig(
        input=str(tmp_path / "in"),
        output=str(tmp_path / "out"),
        detector=DetectorConfig(name="haar"),
        sampling=SamplingConfig(isolate=False),
        ray=RayConfig(start="never"),
    )


def run(config: PreprocessJobConfig, **changes: object) -> Outcome:
    return PreprocessJob(config.model_copy(update=changes), STORAGE).run()


def list_files(config: PreprocessJobConfig) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in Path(config.output).rglob("*.parquet")}


def test_a_job_tells_what_became_of_its_videos_and_a_second_run_has_nothing_to_do(
    config: PreprocessJobConfig,
) -> None:
    done = run(config)
    assert done.summary["by_status"] == {"no_face": 2, "unreadable": 1}
    assert (done.summary["videos"], done.summary["failed"], done.failed_share) == (3, 1, 1 / 3)
    assert (done.summary["done_by"], done.summary["no_longer_in_input"]) == ("this process", 0)
    before = list_files(config)
    assert before
    again = run(config)
    assert again.summary["by_status"] == done.summary["by_status"]
    assert list_files(config) == before


def test_what_is_gone_from_the_input_is_counted_and_what_is_new_is_done(
    config: PreprocessJobConfig,
) -> None:
    run(config)
    folder = Path(config.input)
    (folder / "a.mp4").unlink()
    write_clip(folder / "d.mp4", frames=5)
    done = run(config)
    assert (done.summary["videos"], done.summary["no_longer_in_input"]) == (4, 1)


def test_a_dry_run_tells_the_plan_and_takes_neither_lock_nor_output(config: PreprocessJobConfig) -> None:
    with lock.hold(config.output, STORAGE):
        before = sorted(Path(config.output).rglob("*"))
        assert run(config, dry_run=True).summary["videos"] == 3
        assert sorted(Path(config.output).rglob("*")) == before


def test_one_job_at_a_time_writes_an_output(config: PreprocessJobConfig) -> None:
    with lock.hold(config.output, STORAGE), pytest.raises(UsageError, match="out"):
        run(config)
    assert not Path(config.output, "_manifest.parquet").exists()


def test_another_configuration_is_refused_where_rows_are(config: PreprocessJobConfig) -> None:
    run(config)
    before = list_files(config)
    with pytest.raises(UsageError, match="out"):
        run(config, sampling=SamplingConfig(isolate=False, every_n=7))
    assert list_files(config) == before


def test_the_numbers_of_an_output_are_those_of_its_rows() -> None:
    rows = [
        video_row("a", faces=3, frames_sampled=4),
        video_row("b", status="no_face", faces=0, frames_sampled=5),
        video_row("c", status="decode_error", status_detail=f"{PROGRAM_FAULT}: a key", faces=0),
        video_row("d", status="skipped_duplicate", faces=0, frames_sampled=0),
    ]
    assert count_videos(tables.from_rows("videos", rows)) == {
        "videos": 4,
        "by_status": {"decode_error": 1, "no_face": 1, "ok": 1, "skipped_duplicate": 1},
        "failed": 1,
        "program_faults": 1,
        "frames_sampled": 10,
        "faces": 3,
    }
