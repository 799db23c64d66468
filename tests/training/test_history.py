"""The course of a training for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq

from deepfake.io.storage import Storage
from deepfake.training.history import format_epoch, write_history

METRICS = ("loss", "accuracy", "precision", "recall", "auc")


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    numbers = {prefix + name: 0.5 for prefix in ("", "val_") for name in METRICS}
    seconds = {"train_seconds": 2.0, "val_seconds": 1.4, "input_wait_seconds": 0.25}
    rest = {"epoch": epoch, "phase": "head", "steps": 3, "crops": 24, "penalty": 0.0, "learning_rate": 0.001}
    numbers |= {"val_balanced_loss": 0.5, "val_video_auc": 0.5}
    return {**rest, **numbers, **seconds, "best": False, **changes}


def test_an_epoch_is_one_line_that_says_what_is_not_known_and_which_is_the_best() -> None:
    plain = format_epoch(row(2, auc=None, val_loss=0.25), 5)
    assert plain.startswith("epoch 2/5  loss 0.5000") and plain.endswith("lr 0.001  head  3 s")
    assert "auc -  val_loss 0.2500" in plain
    assert format_epoch(row(2, best=True), 5).endswith("best so far")


def test_both_tables_hold_every_epoch(tmp_path: Path) -> None:
    write_history([row(1), row(2, auc=None)], str(tmp_path), Storage(), "hash")
    assert pq.read_table(tmp_path / "history.parquet")["auc"].to_pylist() == [0.5, None]
    assert pyarrow.csv.read_csv(tmp_path / "history.csv")["epoch"].to_pylist() == [1, 2]
