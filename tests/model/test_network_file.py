"""A network file is looked through before anything is built of it: what it is made of is refused in words."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from deepfake.errors import UsageError
from deepfake.model import keras_runtime
from deepfake.model.bundle import serialise_network
from deepfake.model.network_file import CONFIG, CONFIG_BYTES, MOST_LAYERS, WEIGHTS, unpack_network_file
from tests.small_network import small_network


def pack(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def weigh(fill: Callable[[h5py.File], object]) -> bytes:
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        fill(file)
    return made.getvalue()


NO_WEIGHTS = weigh(lambda file: file.create_group("layers"))


def refuse(*members: tuple[str, bytes], words: str, megabytes: int = 2) -> None:
    with pytest.raises(UsageError, match=rf"^model\.keras: .*{words}"):
        unpack_network_file(pack(*members), "model.keras", megabytes)


def test_a_good_network_passes_and_none_of_its_weights_are_made() -> None:
    network = serialise_network(small_network(keras_runtime.start_keras()))
    from keras.src.backend.common import global_state

    name = "uninitialized_variables"
    before = list(global_state.get_global_attribute(name) or [])
    unpack_network_file(network, "model.keras", 1)
    assert list(global_state.get_global_attribute(name) or []) == before
    with pytest.raises(UsageError, match=r"model\.keras: .* storage\.max_network_mb is 0"):
        unpack_network_file(network, "model.keras", 0)


def test_the_same_network_is_the_same_file_whenever_it_is_written() -> None:
    keras = keras_runtime.start_keras()
    network = small_network(keras)
    first = serialise_network(network)
    assert first == serialise_network(network) != serialise_network(small_network(keras, seed=4))
    with zipfile.ZipFile(io.BytesIO(first)) as kept:
        assert {info.date_time[0] for info in kept.infolist()} == {1980}
        assert "date_saved" not in json.loads(kept.read("metadata.json"))


def test_a_name_that_is_there_twice_is_refused() -> None:
    refuse((CONFIG, b"{}"), (CONFIG, b"{}"), (WEIGHTS, NO_WEIGHTS), words="a name is there twice")


def test_a_description_is_bounded_in_bytes_and_layers() -> None:
    long = b" " * (CONFIG_BYTES + 1)
    refuse((CONFIG, long), (WEIGHTS, NO_WEIGHTS), words=f"config.json has {len(long)} bytes", megabytes=32)
    deep = json.dumps({"config": {"layers": [{}] * (MOST_LAYERS + 1)}}).encode()
    refuse((CONFIG, deep), (WEIGHTS, NO_WEIGHTS), words=f"a network of {MOST_LAYERS + 1} layers")


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda file: file.create_group("/".join("g" * 102)), "too deep"),
        (lambda file: file.update({"vars": h5py.SoftLink("/other")}), "refers to other files"),
        (
            lambda file: [file.create_dataset(name, (2**18,), np.float64) for name in "ab"],
            "more than 4 MiB of weights, storage.max_network_mb is 2",
        ),
    ],
    ids=["deep", "link", "large"],
)
def test_weights_that_no_training_writes_are_refused(fill: Callable[[h5py.File], object], words: str) -> None:
    refuse((CONFIG, b"{}"), (WEIGHTS, weigh(fill)), words=words)
