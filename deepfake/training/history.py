"""The course of a training run for people: one line an epoch, tables, TensorBoard."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join, split_uri

_NOT_SCALARS = ("epoch", "phase", "best")


def format_epoch(row: Mapping[str, Any], epochs: int) -> str:
    """One epoch in one line."""
    usual = ("loss", "accuracy", "precision", "recall", "auc")
    names = (*usual, *(f"val_{name}" for name in (*usual, "balanced_loss", "video_auc")))
    shown = "  ".join(f"{name} {_format_metric(row[name])}" for name in names)
    seconds = row["train_seconds"] + row["val_seconds"]
    best = "  best so far" if row["best"] else ""
    rate = f"lr {row['learning_rate']:.3g}  {row['phase']}"
    return f"epoch {row['epoch']}/{epochs}  {shown}  {rate}  {seconds:.0f} s{best}"


def _format_metric(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def write_history(
    history: Sequence[Mapping[str, Any]], output: str, storage: Storage, config_sha256: str
) -> None:
    """``history.parquet`` and ``history.csv``, one row an epoch."""
    table = tables.from_rows("history", history, config_sha256)
    tables.write_table(storage, join(output, "history.parquet"), table)
    tables.write_csv(storage, join(output, "history.csv"), table)


class TensorBoardLog:
    """Event files below a URI: written in place locally, sent after each epoch to S3."""

    def __init__(self, uri: str, storage: Storage) -> None:
        import tensorflow as tf

        self._tf, self._uri, self._storage = tf, uri, storage
        scheme, path = split_uri(uri)
        self._open = ExitStack()
        self._is_remote = scheme != "file"
        self._local = self._open.enter_context(make_temporary_folder()) if self._is_remote else Path(path)
        self._writer: Any = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one epoch's numbers."""
        if self._writer is None:
            self._writer = self._tf.summary.create_file_writer(str(self._local))
        with self._writer.as_default(step=int(row["epoch"])):
            for name, value in row.items():
                if value is not None and name not in _NOT_SCALARS:
                    group = "val/" if name.startswith("val_") else "train/"
                    self._tf.summary.scalar(group + name.removeprefix("val_"), float(value))
        self._writer.flush()
        if self._is_remote:
            self._storage.upload_folder(self._local, self._uri)
