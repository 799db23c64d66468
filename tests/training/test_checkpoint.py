"""Checkpoints hold arrays and plain values, and nothing that could run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deepfake.io.storage import Storage
from deepfake.training.checkpoint import (
    CheckpointError,
    TrainingState,
    fetch_newest_checkpoint,
    keep_checkpoint,
    load_checkpoint,
    name_checkpoint,
    save_checkpoint,
    select_plain_state,
)


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    state = TrainingState(
        epoch=3, phase=1, phase_start=2, best_epoch=2,
        history=[{"epoch": 1, "val_loss": 0.1 + 0.2}], callbacks=[{"wait": 1, "best": None}],
    )  # fmt: skip
    arrays = {
        "network": [np.arange(6.0).reshape(2, 3), np.float32(4)],
        "seeds": [np.array([1, 2], np.uint32)],
    }
    save_checkpoint(tmp_path, state, arrays)
    found, stored = load_checkpoint(tmp_path)
    assert found == state
    assert stored.keys() == arrays.keys()
    for name, values in arrays.items():
        for value, other in zip(values, stored[name], strict=True):
            np.testing.assert_array_equal(value, other)
            assert np.asarray(value).dtype == other.dtype


def test_more_than_ten_arrays_keep_their_order(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TrainingState(), {"network": [np.array(i) for i in range(300)]})
    assert [int(value) for value in load_checkpoint(tmp_path)[1]["network"]] == list(range(300))


def test_the_newest_checkpoint_takes_the_place_of_all_others(tmp_path: Path) -> None:
    uri, storage = str(tmp_path / "run"), Storage()
    with fetch_newest_checkpoint(uri, storage) as none:
        assert none is None
    (tmp_path / "run" / "epoch-00001").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint_manager_snapshot.json").write_text("{}")  # Ray Train's own record
    for name, epoch in (("run/epoch-00001", 1), ("made", 2)):
        (tmp_path / name).mkdir(exist_ok=True)
        save_checkpoint(tmp_path / name, TrainingState(epoch), {"network": [np.zeros(3)]})
    with fetch_newest_checkpoint(uri, storage) as folder:
        assert folder is not None and load_checkpoint(folder)[0].epoch == 1
    with (
        pytest.raises(CheckpointError, match=r"run/epoch-00001: .* --training\.resume false"),
        fetch_newest_checkpoint(uri, storage) as folder,
    ):
        (folder / "state.json").write_text("garbage")
        load_checkpoint(folder)
    keep_checkpoint(tmp_path / "made", uri, "epoch-00002", storage)
    files = {info.path for info in storage.list_files(uri)}
    assert files == {"epoch-00002/arrays.npz", "epoch-00002/state.json"}
    with fetch_newest_checkpoint(uri, storage) as folder:
        assert folder is not None and load_checkpoint(folder)[0].epoch == 2


def test_a_checkpoint_that_was_not_written_to_its_end_does_not_count(tmp_path: Path) -> None:
    for epoch in (1, 2):
        (tmp_path / f"epoch-{epoch:05d}").mkdir()
        save_checkpoint(tmp_path / f"epoch-{epoch:05d}", TrainingState(epoch), {})
    (tmp_path / "epoch-00002" / "state.json").unlink()
    with fetch_newest_checkpoint(str(tmp_path), Storage()) as folder:
        assert folder is not None and load_checkpoint(folder)[0].epoch == 1


def test_checkpoints_within_epochs_come_between_those_of_epochs(tmp_path: Path) -> None:
    states = [TrainingState(epoch, steps) for epoch, steps in ((0, 4), (0, 12), (1, 0), (1, 4), (2, 0))]
    for state in states:
        folder = tmp_path / name_checkpoint(state)
        folder.mkdir()
        save_checkpoint(folder, state, {"best": [], "scores": []})
        with fetch_newest_checkpoint(str(tmp_path), Storage()) as newest:
            assert newest is not None and load_checkpoint(newest) == (state, {})


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TrainingState(), {})
    np.savez(tmp_path / "arrays.npz", **{"network/0000": np.array([{}], object)})
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "version", "truncated", "unknown key"])
def test_a_damaged_checkpoint_is_an_error_that_names_the_folder(tmp_path: Path, damage: str) -> None:
    save_checkpoint(tmp_path, TrainingState(), {"network": [np.zeros(1000)]})
    state = tmp_path / "state.json"
    content = json.loads(state.read_text())
    if damage == "missing":
        state.unlink()
    elif damage == "version":
        state.write_text(json.dumps(content | {"format": 99}))
    elif damage == "unknown key":
        state.write_text(json.dumps(content | {"surprise": 1}))
    else:
        (tmp_path / "arrays.npz").write_bytes((tmp_path / "arrays.npz").read_bytes()[:500])
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_checkpoint(tmp_path)


def test_a_callbacks_counters_are_kept_and_its_objects_are_not() -> None:
    class Callback:
        def __init__(self) -> None:
            self.wait, self.best, self.monitor = 2, np.float32(0.5), "val_loss"
            self.model, self.op = object(), np.less

    assert select_plain_state(Callback()) == {"wait": 2, "best": 0.5, "monitor": "val_loss"}
