"""What somebody put into an output before a job goes on with it."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.config import CropConfig, ScoreJobConfig
from deepfake.errors import UsageError
from deepfake.execution import runner
from deepfake.execution.output import Output
from deepfake.execution.work_units import Unit
from deepfake.io import lock, tables
from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage
from deepfake.io.temporary import share_temporary_folder
from deepfake.pipelines.score import pipeline as score
from deepfake.training.checkpoint import (
    RAY_RECORD,
    CheckpointError,
    TrainingState,
    load_checkpoint,
    require_own,
    save_checkpoint,
)
from deepfake.training.data.pixel_cache import PixelCache
from tests import small_bundle
from tests.clips import write_clip
from tests.rows import crop_row, video_row

CONFIG = "c" * 64
PLACES = {"input": "archive", "bundle": "bundle", "output": "out"}


def unit(names: list[str], crops_of: list[str]) -> dict[str, pa.Table]:
    return {
        "videos": tables.from_rows("videos", [video_row(name) for name in names], CONFIG),
        "crops": tables.from_rows("crops", [crop_row(name, i, 0) for i, name in enumerate(crops_of)], CONFIG),
    }


def plan_unit(names: list[str], folder: str = "") -> Unit:
    uris = [folder + video_row(name)["uri"] for name in names]
    return Unit("u0", pa.table({"video_id": names, "uri": uris}), 1.0)


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
    planned = plan_unit(["a", "b"])
    assert runner.list_waiting([planned], output) == ([] if is_done else [planned])


def test_a_finished_unit_of_videos_of_the_same_names_elsewhere_is_done_again(tmp_path: Path) -> None:
    output = Output(str(tmp_path), Storage(), CONFIG, {"videos": "", "crops": ""})
    output.write_unit("u0", unit(["a", "b"], []))
    planned = plan_unit(["a", "b"], "/elsewhere")
    assert runner.list_waiting([planned], output) == [planned]


def test_a_unit_that_is_no_table_is_done_again(tmp_path: Path) -> None:
    output = Output(str(tmp_path), Storage(), CONFIG, {"videos": "", "crops": ""})
    output.write_unit("u0", unit(["a"], []))
    Path(output.locate_unit("crops", "u0")).write_bytes(b"PAR1 no table PAR1")
    planned = plan_unit(["a"])
    assert runner.list_waiting([planned], output) == [planned]


def test_a_finished_output_whose_scores_are_not_of_its_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    for name in ("a", "b"):
        write_clip(tmp_path / "archive" / f"{name}.mp4", frames=3, title=name)
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    places = {name: str(tmp_path / folder) for name, folder in PLACES.items()}
    config = ScoreJobConfig.model_validate(
        {**places, "detector": {"name": "haar"}, "ray": {"start": "never"}}
    )
    score.run(config)
    part = tmp_path / "out" / "video_scores" / "part-00000.parquet"
    whole = pq.read_table(part)
    for rows in ([0, 0], [0], [0, 1, 1]):
        pq.write_table(whole.take(rows), part)
        with pytest.raises(UsageError, match="video_scores: has not one row for each video of _manifest"):
            score.run(config)
    pq.write_table(whole.take([1, 0]), part)
    score.run(config)


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


@pytest.mark.parametrize("place", ["_work/videos/u0.parquet", "_checkpoints/run/state.json", "pipe"])
def test_an_output_with_a_pipe_in_it_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / place)
    with pytest.raises(UsageError, match=f"{place}: a pipe or device"), lock.hold(str(tmp_path), Storage()):
        pass


def test_a_lock_that_is_another_file_by_a_second_name_is_not_written(tmp_path: Path) -> None:
    victim, out = tmp_path / "victim", tmp_path / "out"
    out.mkdir()
    victim.write_text("precious")
    (out / lock.FILE).hardlink_to(victim)
    with (
        pytest.raises(UsageError, match=r"is no lock file .*another name"),
        lock.hold(str(out), Storage(), pause=lambda seconds: None),
    ):
        pass
    assert victim.read_text() == "precious"


def test_an_output_that_is_itself_a_link_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with lock.hold(str(tmp_path / "out"), Storage()):
        assert (tmp_path / "disk" / lock.FILE).exists()


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


STATES = [
    "[]", "null", "7", "[" * 100_000, '{"format": 3, "epoch": "x"}', '{"format": 3, "history": 7}',
    '{"format": 3, "steps": 1.5}', '{"format": 3, "tracked": {"mlflow": 7}}', '{"format": 3, "more": 1}',
]  # fmt: skip


@pytest.mark.parametrize("text", STATES)
def test_a_state_of_nonsense_is_no_checkpoint(tmp_path: Path, text: str) -> None:
    save_checkpoint(tmp_path, TrainingState(), {"network": [np.zeros(3)]})
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match="not a checkpoint of this version"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("what", ["code", "packed", "endless", "garbage"])
def test_arrays_that_hold_code_or_unpack_to_more_are_no_checkpoint(tmp_path: Path, what: str) -> None:
    save_checkpoint(tmp_path, TrainingState(), {"network": [np.zeros(3)]})
    header, place = io.BytesIO(), tmp_path / "arrays.npz"
    shape = (2**48,) if what == "endless" else (2**28,)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    if what == "code":
        with place.open("wb") as file:
            np.savez(file, **{"network/0000": np.array([Code(tmp_path / "made")], object)})
    elif what == "garbage":
        place.write_bytes(b"PK garbage")
    else:
        method = zipfile.ZIP_DEFLATED if what == "packed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(place, "w", method) as archive:
            archive.writestr("network/0000.npy", header.getvalue() + bytes(2**20))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "told",
    [
        {"checkpoint_results": [{"checkpoint_dir_name": "../../../victim", "metrics": {}}]},
        {"checkpoint_results": [], "latest_checkpoint_result": {"checkpoint_dir_name": "/etc"}},
        {"validated_checkpoint_dir_names": ["epoch-00001", ".."]},
        {"failed_validation_checkpoint_dir_names": "/etc"},
        [{"checkpoint_dir_name": "epoch-00001/../.."}],
        "garbage",
    ],
)
def test_ray_train_s_record_that_names_other_folders_is_refused(tmp_path: Path, told: object) -> None:
    """Ray Train removes the checkpoints that its record names, wherever they are."""
    record = tmp_path / RAY_RECORD
    record.write_text(told if isinstance(told, str) else json.dumps(told))
    with pytest.raises(UsageError, match=RAY_RECORD):
        require_own(str(tmp_path), Storage())


def test_a_checkpoint_larger_than_any_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "epoch-00001").mkdir()
    save_checkpoint(tmp_path / "epoch-00001", TrainingState(), {"network": [np.zeros(3)]})
    require_own(str(tmp_path), Storage())
    os.truncate(tmp_path / "epoch-00001" / "arrays.npz", 2**43)
    with pytest.raises(UsageError, match=r"arrays\.npz: has 8388608 MiB, .* more than 16384"):
        require_own(str(tmp_path), Storage())


def test_a_kept_picture_of_another_size_or_half_of_one_is_none(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "train", 3, 8, 10**6)
    cache.write(2, np.full((8, 8, 3), 7, np.uint8))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for side in (0, 9, 2**16, 2**32 - 1):
        file.write_bytes(whole[: 2 * cache.slot] + side.to_bytes(4, "little") + whole[2 * cache.slot + 4 :])
        assert cache.read(2) is None and not cache.has(2)  # what says to have it need not read the crop
    file.write_bytes(whole[:-1])
    assert cache.read(2) is None and not cache.has(2)


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "socket"])
def test_what_is_no_file_in_place_of_kept_pictures_is_neither_read_nor_written(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "target"
    PixelCache(tmp_path, "train", 3, 8, 10**6).write(0, np.full((8, 8, 3), 7, np.uint8))
    (file,) = tmp_path.iterdir()
    file.rename(target)
    whole = target.read_bytes()
    if what == "link":
        file.symlink_to(target)
    elif what == "pipe":
        os.mkfifo(file)
    elif what == "folder":
        file.mkdir()
    else:
        os.mknod(file, stat.S_IFSOCK | 0o600)
    for _ in range(2):
        cache = PixelCache(tmp_path, "train", 3, 8, 10**6)
        assert cache.read(0) is None and not cache.has(0)
        cache.write(1, np.zeros((8, 8, 3), np.uint8))
    assert target.read_bytes() == whole
    assert caplog.text.count("decoded crops are not kept any more") == 1


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes what is another user's")
def test_a_folder_for_kept_pictures_that_is_another_user_s_is_refused(tmp_path: Path) -> None:
    planted = tmp_path / "deepfake-temporary-abcdefgh"
    planted.mkdir()
    os.chown(planted, 12345, 12345)
    with pytest.raises(PermissionError), share_temporary_folder(tmp_path, "abcdefgh"):
        pass
    assert planted.exists()


def test_a_folder_is_copied_without_links_and_never_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "run" / "plot.png").symlink_to(tmp_path / "secret")
    (tmp_path / "run" / "state.json").write_text("{}")
    Storage().download_folder(str(tmp_path / "run"), tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["state.json"]
    # a bucket may have objects of any name
    listed = [FileInfo("../planted", str(tmp_path / "secret"), 7, None)]
    monkeypatch.setattr(Storage, "list_files", lambda storage, uri: listed)
    with pytest.raises(UsageError, match="leads out of the folder"):
        Storage().download_folder("s3://bucket/run", tmp_path / "copy")
    assert not (tmp_path / "planted").exists()
