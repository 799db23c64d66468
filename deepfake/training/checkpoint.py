"""The state of a training run as a folder: ``state.json`` and ``arrays.npz``, nothing that can run code.

Ray Train keeps the folders ``epoch-00001`` or ``epoch-00001-step-0000200`` of a run; where it does not run,
``keep_checkpoint`` does.

Knows nothing of Keras or Ray: arrays and plain values in, the same out.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join

FORMAT = 3
STATE_FILE, _ARRAYS_FILE = "state.json", "arrays.npz"
RAY_RECORD = "checkpoint_manager_snapshot.json"  # of Ray Train: the checkpoints that it keeps
_NAME = re.compile(r"epoch-\d{5,}(-step-\d{7,})?")
_NETWORKS = 8  # in a checkpoint, at most: weights, their moments, averages, the best


@dataclass
class TrainingState:
    """How far a training run has come."""

    epoch: int = 0  # epochs that are complete
    steps: int = 0  # of the epoch after them that are done
    seconds: float = 0.0  # that those took
    waited: float = 0.0  # of them for crops
    phase: int = 0  # number of the phase that the last epoch, begun or complete, is in
    phase_start: int = 0  # epochs that were complete when it began
    stopped: bool = False  # a callback asked to stop the phase
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)  # one dict an epoch
    callbacks: list[dict[str, Any]] = field(default_factory=list)  # plain attributes of each callback
    tracked: dict[str, str] = field(default_factory=dict)  # ids of its runs, by tracker


class CheckpointError(RuntimeError):
    """A checkpoint is not what this run can go on from."""


def save_checkpoint(folder: Path, state: TrainingState, arrays: Mapping[str, list[np.ndarray]]) -> None:
    """Write a run's state; ``arrays`` are lists by name, each array of any shape and plain dtype."""
    flat = {f"{name}/{i:04d}": value for name, values in arrays.items() for i, value in enumerate(values)}
    with (folder / _ARRAYS_FILE).open("wb") as file:
        np.savez(file, **flat)  # type: ignore[arg-type]
    stored = {"format": FORMAT, **vars(state)}
    (folder / STATE_FILE).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> tuple[TrainingState, dict[str, list[np.ndarray]]]:
    """What ``save_checkpoint`` wrote, arrays of any shape; raises ``CheckpointError`` for anything else."""
    try:
        storage = Storage()
        state = storage.read_json(str(folder / STATE_FILE))
        if state.pop("format") != FORMAT:
            raise CheckpointError(f"{folder}: a checkpoint of another version; train without it")
        arrays: dict[str, list[np.ndarray]] = {}
        with storage.open(str(folder / _ARRAYS_FILE)) as file:
            with zipfile.ZipFile(file) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise CheckpointError(f"{folder}: its arrays are packed, which no checkpoint's are")
            file.seek(0)
            with np.load(file, allow_pickle=False) as stored:
                for key in sorted(stored.files):
                    arrays.setdefault(key.rpartition("/")[0], []).append(stored[key])
        return TypeAdapter(TrainingState).validate_python(vars(TrainingState(**state))), arrays
    except CheckpointError:
        raise
    except Exception as error:  # a damaged archive makes zipfile and NumPy raise anything
        words = str(error)[:500]
        raise CheckpointError(f"{folder}: not a checkpoint of this version ({words})") from error


def keep_checkpoint(folder: Path, uri: str, name: str, storage: Storage) -> None:
    """Put a checkpoint below a run's URI, in place of all that is there, Ray Train's own record included."""
    storage.upload_folder(folder, join(uri, name))  # ``state.json`` comes last
    for info in storage.list_files(uri):
        if not info.path.startswith(f"{name}/"):
            storage.remove(info.uri)


def name_checkpoint(state: TrainingState) -> str:
    """The folder of a run's checkpoint; names sort as the run goes on."""
    name = f"epoch-{state.epoch:05d}"
    return f"{name}-step-{state.steps:07d}" if state.steps else name


def require_own(uri: str, storage: Storage) -> None:
    """Raise ``UsageError`` where a training did not leave what is below a run's URI.

    That is a file of more bytes than any of a checkpoint, or Ray Train's record with other folders than
    checkpoints: it goes on from what that names, and removes it, wherever it is.
    """
    most = _NETWORKS * storage.config.max_network_mb
    for info in storage.list_files(uri) if storage.is_folder(uri) else ():
        if info.size > most * 2**20:
            raise UsageError(
                f"{info.uri}: has {info.size >> 20} MiB, and no checkpoint more than {most}, by "
                "storage.max_network_mb; --training.resume false begins anew"
            )
    record = join(uri, RAY_RECORD)
    waiting = [storage.read_json(record)] if storage.exists(record) else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                names = (
                    inner if key.endswith("_dir_names") else [inner] if key == "checkpoint_dir_name" else []
                )
                if not isinstance(names, list) or not all(_NAME.fullmatch(str(name)) for name in names):
                    raise UsageError(
                        f"{record}: names other folders than checkpoints; --training.resume false begins anew"
                    )
        waiting += value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()


@contextmanager
def fetch_newest_checkpoint(uri: str, storage: Storage) -> Iterator[Path | None]:
    """The newest complete checkpoint below a run's URI, as a local folder while the block runs."""
    found = storage.list_files(uri) if storage.is_folder(uri) else []
    names = sorted(PurePosixPath(info.path).parent.name for info in found if info.path.endswith(STATE_FILE))
    if not names:
        yield None
        return
    with make_temporary_folder() as folder:
        place = join(uri, names[-1])
        storage.download_folder(place, folder)
        try:
            yield folder
        except CheckpointError as error:
            words = str(error).replace(str(folder), place)
            raise CheckpointError(f"{words}; --training.resume false begins anew") from error


def select_plain_state(instance: Any) -> dict[str, Any]:
    """Those attributes of a callback that JSON can hold: its counters and best values."""
    kinds = (bool, int, float, str, type(None))
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(instance).items()
        if isinstance(value, (*kinds, np.generic))
    }
