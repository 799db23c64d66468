"""What a ``.keras`` file would unpack to and build, known before Keras sees it.

It is a zip archive (config.json, metadata.json, model.weights.h5), and seven megabytes of it may be gigabytes
once they are unpacked, or a description of a network of terabytes.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import hub, keras_runtime

_WAITING = "uninitialized_variables"  # Keras' name for them
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
CONFIG_BYTES = 16 * 2**20  # EfficientNetB4's has 0.6 MB
MOST_LAYERS = 20_000
LARGEST_OUTPUT = 2**26  # numbers that a layer may make of one crop; of EfficientNetB4 1.8 million


def read_network_file(uri: str, storage: Storage) -> bytes:
    """The content of a network's file; ``UsageError`` where ``storage.max_network_mb`` is less.

    Raises ``FileNotFoundError`` where there is none.
    """
    megabytes = storage.config.max_network_mb
    size = storage.get_info(uri).size / 2**20
    if size > megabytes:
        raise _too_large(uri, f"{size:.0f} MiB", size, megabytes)
    return storage.read_at_most(uri, megabytes * 2**20)


def suggest_megabytes(size: float) -> int:
    """What ``storage.max_network_mb`` may be where a network's weights have ``size`` MiB."""
    return int(size * 1.1) + 16


def unpack_network_file(data: bytes, where: str, megabytes: int, with_hub: bool = False) -> dict[str, bytes]:
    """What Keras needs of a ``.keras`` file, by name, looked through.

    Raises ``UsageError`` where it is too large unpacked, or any error where it is none. ``with_hub``: whether
    a backbone of KerasHub may be in it.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        check_sizes(archive, where, megabytes)
        there = {CONFIG, METADATA, WEIGHTS}.intersection(archive.namelist())
        members = {name: read_member(archive, name) for name in sorted(there)}
    config = json.loads(members[CONFIG])
    check_weight_shapes(members[WEIGHTS], where, megabytes)
    hub.check_classes(config, where, with_hub)
    _check_network(config, where, megabytes)
    return members


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of a zip archive, of no more bytes than its directory says.

    ``ZipFile.read`` unpacks everything that is there, and then cuts it off.
    """
    with archive.open(name) as member:
        return member.read(archive.getinfo(name).file_size)


def check_sizes(archive: zipfile.ZipFile, where: str, megabytes: int) -> None:
    """Raise ``UsageError`` where a zip archive, by its directory, has more than so many MiB.

    Or where it is packed so that Python unpacks it whole, however little of it is asked for.
    """
    members = archive.infolist()
    size = sum(member.file_size for member in members) / 2**20
    if size > megabytes:
        raise _too_large(where, f"{size:.0f} MiB once it is unpacked", size, megabytes)
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise UsageError(f"{where}: a name is there twice; copy the bundle again")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UsageError(
                f"{where}: {member.filename[:100]} is packed by method {member.compress_type}, as "
                "nothing here packs it; copy the bundle again"
            )
        if member.filename == CONFIG and member.file_size > CONFIG_BYTES:
            raise UsageError(f"{where}: {CONFIG} has {member.file_size} bytes; use a bundle of jobs/train.py")


def check_weight_shapes(data: bytes | Path, where: str, megabytes: int) -> None:
    """By the shapes that the HDF5 file names; it may not be packed, nor refer to other files."""
    import h5py

    total = 0

    def visit(group: Any, depth: int) -> None:
        nonlocal total
        if depth > 100:
            raise UsageError(f"{where}: {WEIGHTS} is too deep; use a bundle of jobs/train.py")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UsageError(f"{where}: {WEIGHTS} refers to other files; use a bundle of jobs/train.py")
            item = group[name]
            if isinstance(item, h5py.Group):
                visit(item, depth + 1)
            elif item.external or item.is_virtual:
                raise UsageError(f"{where}: {WEIGHTS} refers to other files; use a bundle of jobs/train.py")
            else:
                total += item.nbytes
                if (size := total / 2**20) > megabytes:
                    raise _too_large(where, f"more than {size:.0f} MiB of weights", size, megabytes)
                if item.id.get_create_plist().get_nfilters():  # HDF5 unpacks whatever a chunk holds
                    raise UsageError(f"{where}: {WEIGHTS} is packed; save it as Keras does, unpacked")

    with h5py.File(data if isinstance(data, Path) else io.BytesIO(data), "r") as file:
        visit(file, 0)


def _check_network(config: Any, where: str, megabytes: int) -> None:
    """By building it without any memory for its weights."""
    keras = keras_runtime.start_keras()
    layers = config["config"]["layers"]
    if len(layers) > MOST_LAYERS:
        raise UsageError(f"{where}: a network of {len(layers)} layers; use a bundle of jobs/train.py")
    from keras.src.backend.common import global_state

    waiting = list(global_state.get_global_attribute(_WAITING) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            network = keras.saving.deserialize_keras_object(config, safe_mode=True)
    finally:
        global_state.set_global_attribute(_WAITING, waiting)  # it would make these weights later
    size = sum(4 * math.prod(variable.shape) for variable in network.variables) / 2**20
    if size > megabytes:
        raise _too_large(where, f"{size:.0f} MiB of weights", size, megabytes)
    for layer in _list_layers(network):
        shape = [side or 1 for side in getattr(layer.output, "shape", ())]
        if math.prod(shape) > LARGEST_OUTPUT:
            raise UsageError(
                f"{where}: layer {layer.name[:100]} makes {shape} of a crop; it is no network of ours"
            )


def _list_layers(network: Any) -> Iterator[Any]:
    """The layers of a network; of a network among them its own."""
    keras = keras_runtime.start_keras()
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _list_layers(layer)
        else:
            yield layer


def _too_large(where: str, words: str, size: float, megabytes: int) -> UsageError:
    return UsageError(
        f"{where}: {words}, storage.max_network_mb is {megabytes}; give --storage.max_network_mb "
        f"{suggest_megabytes(size)} if you trust its maker"
    )
