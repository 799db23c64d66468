"""What somebody put into an output before a job goes on with it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from deepfake.errors import UsageError
from deepfake.execution import runner
from deepfake.execution.output import Output
from deepfake.execution.work_units import Unit
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from tests.rows import crop_row, video_row

CONFIG = "c" * 64


def unit(names: list[str], crops_of: list[str]) -> dict[str, pa.Table]:
    return {
        "videos": tables.from_rows("videos", [video_row(name) for name in names], CONFIG),
        "crops": tables.from_rows("crops", [crop_row(name, i, 0) for i, name in enumerate(crops_of)], CONFIG),
    }


@pytest.mark.parametrize(
    ("names", "crops_of", "is_done"),
    [
        (["a", "b"], ["a", "b", "a"], True),
        (["b", "a"], [], True),
        (["a"], ["a"], False),
        (["a", "b", "b"], [], False),
        (["x", "y"], [], False),
        ([], [], False),
        (["a", "b"], ["x"], False),
    ],
)
def test_a_finished_unit_of_other_videos_than_the_plan_s_is_done_again(
    tmp_path: Path, names: list[str], crops_of: list[str], is_done: bool
) -> None:
    output = Output(str(tmp_path), Storage(), CONFIG, {"videos": "", "crops": ""})
    output.write_unit("u0", unit(names, crops_of))
    planned = Unit("u0", pa.table({"video_id": ["a", "b"]}), 1.0)
    assert runner.list_waiting([planned], output) == ([] if is_done else [planned])


def test_a_unit_that_is_no_table_is_done_again(tmp_path: Path) -> None:
    output = Output(str(tmp_path), Storage(), CONFIG, {"videos": "", "crops": ""})
    output.write_unit("u0", unit(["a"], []))
    Path(output.locate_unit("crops", "u0")).write_bytes(b"PAR1 no table PAR1")
    planned = Unit("u0", pa.table({"video_id": ["a"]}), 1.0)
    assert runner.list_waiting([planned], output) == [planned]


@pytest.mark.parametrize("place", ["_work", "_work/videos", "_config.json", "videos"])
def test_an_output_with_links_in_it_is_refused_and_what_they_lead_to_stays(
    tmp_path: Path, place: str
) -> None:
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (root / place).parent.mkdir(parents=True)
    elsewhere.mkdir()
    (root / place).symlink_to(elsewhere)
    with pytest.raises(UsageError, match=f"{place}: a link in an output"), lock.hold(str(root), Storage()):
        pass
    assert not list(elsewhere.iterdir())


def test_an_output_that_is_itself_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with lock.hold(str(tmp_path / "out"), Storage()):
        assert (tmp_path / "disk" / lock.FILE).exists()
