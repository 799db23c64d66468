"""Small files that would unpack to gigabytes are refused before they do."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import resource
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.catalog import manifest
from deepfake.config import ModelConfig, StorageConfig
from deepfake.crops.reader import decode_crop
from deepfake.errors import UsageError
from deepfake.faces import encoding
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError, bounded
from deepfake.model import network_file, openvino_graph
from deepfake.model.bundle import MODEL_FILE, Bundle, BundleInfo, write_bundle
from deepfake.model.network import build_network, copy_for_inference
from deepfake.report import images
from tests.rows import crop_row, video_row
from tests.small_bundle import save_bundle


@pytest.fixture
def small_memory() -> Iterator[None]:
    """The test fails where this process took half a gigabyte more than it ever had."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB


def png(width: int, height: int, colour: int = 2, says: tuple[int, int] | None = None) -> bytes:
    """A PNG of zeros, a thousandth of what it unpacks to; of another size than its header ``says``."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer = zlib.compressobj()
    row = bytes(1 + 3 * width)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", *(says or (width, height)), 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.usefixtures("small_memory")
def test_a_stored_crop_is_unpacked_only_where_its_header_says_the_size_of_a_crop() -> None:
    bomb = png(20_000, 10_000)
    assert len(bomb) < 2**20
    for size in (224, None):
        with pytest.raises(TableError, match="20000x10000"):
            decode_crop(bomb, size, "crops/part-0.parquet, row 1")
    with pytest.raises(ValueError, match="20000x10000"):
        encoding.join_surround(np.zeros((224, 224, 3), np.uint8), bomb)


def test_a_stored_crop_of_more_bytes_than_its_pixels_can_take_is_not_unpacked() -> None:
    bomb = png(20_000, 10_000, says=(224, 224))
    with pytest.raises(TableError, match=f"{len(bomb):,} bytes for a picture of 224x224 pixels"):
        decode_crop(bomb, 224)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_the_header_of_each_kind_of_crop_is_read(suffix: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (57, 83, 3), np.uint8)
    for options in ((), [64, 50], [64, 101]):  # of WebP: lossy, lossless
        data = images.encode_file(picture, suffix, options if suffix == ".webp" else ())
        assert encoding.read_size(data) == (57, 83)
        assert encoding.decode_image(data).shape == picture.shape
        assert all(encoding.read_size(data[:length]) in (None, (57, 83)) for length in range(len(data[:64])))


@pytest.mark.parametrize("suffix", [".tiff", ".ppm", ".jp2"])
def test_no_other_kind_of_picture_is_a_crop(suffix: str) -> None:
    with pytest.raises(TableError, match="not an image"):
        decode_crop(images.encode_file(np.zeros((224, 224, 3), np.uint8), suffix), 224)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is in the network file of a good bundle."""
    folder = tmp_path_factory.mktemp("good") / "model"
    network = build_network(ModelConfig(backbone="mobilenet025", weights="none"))  # of many kinds of layers
    save_bundle(str(folder), Storage(), copy_for_inference(network), threshold=0.5)
    with zipfile.ZipFile(folder / MODEL_FILE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def score_with(folder: Path, members: dict[str, bytes], **storage: Any) -> None:
    """Make a bundle of a network file's members, its hashes right, and score with it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    store = Storage(StorageConfig(**storage))
    store.write_bytes(str(folder / MODEL_FILE), packed.getvalue())
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    write_bundle(str(folder), store, BundleInfo(model_sha256=digest, threshold=0.5))
    Bundle.load(str(folder), store).score(np.zeros((1, 224, 224, 3), np.uint8))


def hdf5(shape: tuple[int, ...]) -> bytes:
    """Weights of zeros, packed: chunks that were never written take no room at all."""
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape, np.float32, chunks=True, compression="gzip")
    return made.getvalue()


def widen(config: bytes, layer: str, **changes: Any) -> bytes:
    network = json.loads(config)
    found = next(one for one in network["config"]["layers"] if one["class_name"] == layer)
    found["config"] |= changes
    return json.dumps(network).encode()


def test_a_network_file_that_unpacks_to_gigabytes_is_refused_by_its_directory(
    tmp_path: Path, members: dict[str, bytes]
) -> None:
    with pytest.raises(
        UsageError, match=r"\.keras: 60\d MiB .*_mb is 512; give --storage.max_network_mb 67\d "
    ):
        score_with(tmp_path, {**members, "model.weights.h5": bytes(600 * 2**20)}, max_network_mb=512)


def deflate(content: bytes) -> bytes:
    """A piece of a stream, which others may follow."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)


def pack_lie(
    members: dict[str, bytes], name: str, megabytes: int, packing: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """An archive in which so many zeros follow a member, of which its directory knows nothing."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for other, content in members.items():
            whole = content
            if other == name and packing == zipfile.ZIP_BZIP2:
                packer = bz2.BZ2Compressor()
                pieces = [content, *[bytes(2**20)] * megabytes]
                whole = b"".join(map(packer.compress, pieces)) + packer.flush()
            elif other == name:
                whole = deflate(content) + megabytes * deflate(bytes(2**20))
            archive.writestr(other, whole)
        info = archive.getinfo(name)
        info.compress_type = packing
        info.file_size, info.CRC = len(members[name]), zlib.crc32(members[name])
        header = info.header_offset
    data = bytearray(packed.getvalue())
    struct.pack_into("<H", data, header + 8, packing)
    return bytes(data)


@pytest.mark.usefixtures("small_memory")
def test_of_an_archive_that_holds_more_than_its_directory_says_no_more_is_unpacked(
    tmp_path: Path, members: dict[str, bytes]
) -> None:
    data = pack_lie(members, "model.weights.h5", 1024)
    assert len(data) < 2**22
    digest = hashlib.sha256(data).hexdigest()
    Storage().write_bytes(str(tmp_path / MODEL_FILE), data)
    write_bundle(str(tmp_path), Storage(), BundleInfo(model_sha256=digest, threshold=0.5))
    Bundle.load(str(tmp_path)).score(np.zeros((1, 224, 224, 3), np.uint8))
    graph = pack_lie({"network.xml": b"<net/>", "network.bin": b"0"}, "network.bin", 1024)
    with pytest.raises(UsageError, match="the network for OpenVINO cannot be read"):
        openvino_graph.compile_graph(graph, 224)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    "members",
    [
        {"network.xml": b"<net/>"},
        {"network.xml": b"", "network.bin": b""},
        {"network.xml": b"<net>" * 10**6, "network.bin": b"0"},
        {
            "network.xml": b'<!DOCTYPE net [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><net>&b;</net>',
            "network.bin": b"0",
        },
    ],
    ids=["no weights", "empty", "deep", "entities"],
)
def test_an_archive_that_is_no_graph_of_openvino_is_refused_in_a_sentence(members: dict[str, bytes]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    for graph in (packed.getvalue(), b"no archive"):
        with pytest.raises(UsageError, match="the network for OpenVINO cannot be read"):
            openvino_graph.compile_graph(graph, 224)


@pytest.mark.usefixtures("small_memory")
def test_an_archive_is_refused_whose_packing_is_unpacked_whole_whatever_is_asked_for() -> None:
    there = {"network.xml": b"<net/>", "network.bin": b"0"}
    data = pack_lie(there, "network.bin", 1024, zipfile.ZIP_BZIP2)
    assert len(data) < 2**12
    with pytest.raises(UsageError, match=r"network\.bin is packed by method 12"):
        network_file.unpack_network_file(data, "a.keras", 2048)
    with pytest.raises(UsageError, match=r"network\.bin is packed by method 12"):
        openvino_graph.compile_graph(data, 224)


def test_weights_that_are_packed_within_their_file_are_refused() -> None:
    with pytest.raises(UsageError, match=r"a\.keras: model\.weights\.h5 is packed"):
        network_file.check_weight_shapes(hdf5((2**16,)), "a.keras", 2048)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights", "MiB of weights, storage.max_network_mb is 2048"),
        ("config", "MiB of weights, storage.max_network_mb is 2048"),
        ("pictures", "of a crop; it is no network of ours"),
        ("link", "refers to other files"),
    ],
)
def test_a_network_that_would_be_too_large_is_refused_before_it_is_built(
    tmp_path: Path, members: dict[str, bytes], name: str, words: str
) -> None:
    changed = dict(members)
    if name == "weights":
        changed["model.weights.h5"] = hdf5((2**30,))
    elif name == "config":
        changed["config.json"] = widen(
            members["config.json"], "Conv2D", kernel_size=[30_000, 30_000], padding="same"
        )
    elif name == "pictures":
        changed["config.json"] = widen(
            members["config.json"], "ZeroPadding2D", padding=[[0, 10_000], [0, 10_000]]
        )
    else:
        made = io.BytesIO()
        with h5py.File(made, "w") as file:
            file["layers"] = h5py.ExternalLink("/etc/passwd", "/")
        changed["model.weights.h5"] = made.getvalue()
    with pytest.raises(UsageError, match=words):
        score_with(tmp_path, changed)


@pytest.mark.parametrize(
    "config",
    [
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"module": 1}',
        b'{"config": {"layers": [{"config": 7}]}}',
        b"\xff",
    ],
)
def test_a_network_file_whose_configuration_is_nonsense_is_refused_in_words(
    tmp_path: Path, members: dict[str, bytes], config: bytes
) -> None:
    with pytest.raises(UsageError, match="not a network that loads in safe mode"):
        score_with(tmp_path, {**members, "config.json": config})


def test_a_key_raises_the_bound_and_lowers_it(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(
        UsageError, match=r"2 MiB, storage\.max_network_mb is 1; give --storage\.max_network_mb 18 "
    ):
        score_with(
            tmp_path, {**members, "model.weights.h5": np.random.default_rng(0).bytes(2**21)}, max_network_mb=1
        )


def write_videos(path: Path, rows: int, **columns: pa.Array) -> Path:
    """A table ``videos`` of many equal rows but for some columns."""
    one = tables.from_rows("videos", [video_row("a.mp4")])
    made = {name: one[name].take(pa.array(np.zeros(rows, np.int8))) for name in one.column_names} | columns
    pq.write_table(pa.table(made), path, row_group_size=rows, store_schema=False, compression="zstd")
    return path


def say_once(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [text])


@pytest.mark.usefixtures("small_memory")
def test_a_table_in_which_one_long_text_stands_for_gigabytes_is_refused(tmp_path: Path) -> None:
    path = write_videos(tmp_path / "t.parquet", 200_000, notes=say_once("x" * 60_000, 200_000))
    assert path.stat().st_size < 2**20
    with pytest.raises(TableError, match=r"t\.parquet: unpacks to 11\d\d\d MiB, .*max_table_mb 2048"):
        tables.read_table(Storage(), str(path), "videos")
    with pytest.raises(TableError, match="unpacks"):
        list(tables.read_rows_of_videos(Storage(), str(path), "videos", pa.array(["a.mp4"])))
    assert tables.read_table(Storage(), str(path), "videos", ["video_id"]).num_rows == 200_000
    assert tables.read_encoded(Storage(), str(path), "videos").num_rows == 200_000


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (200_000, {"duration_s": pa.nulls(200_000, pa.float64())}),
        (1, {"notes": pa.array(["\0" * 2**23])}),
        (2**11, {"notes": say_once("x" * 2**12, 2**11)}),
    ],
    ids=["nulls", "zeros", "text"],
)
def test_what_a_table_unpacks_to_is_bounded_by_its_footer(
    tmp_path: Path, rows: int, columns: dict[str, pa.Array]
) -> None:
    path = write_videos(tmp_path / "t.parquet", rows, **columns)
    with pytest.raises(TableError, match=r"unpacks to .*max_table_mb 1; raise it"):
        tables.read_table(Storage(StorageConfig(max_table_mb=1)), str(path), "videos")
    assert tables.read_table(Storage(), str(path), "videos").num_rows == rows


def test_texts_that_repeat_are_counted_as_long_as_they_are(tmp_path: Path) -> None:
    words = pa.DictionaryArray.from_arrays(np.arange(2**10, dtype=np.int32) % 2, ["x" * 2**12, "y"])
    path = write_videos(tmp_path / "t.parquet", 2**10, notes=words)
    storage = Storage(StorageConfig(max_table_mb=3))
    assert tables.read_table(storage, str(path), "videos")["notes"].nbytes > 2**21


def test_a_landmark_list_without_end_is_bounded_too(tmp_path: Path) -> None:
    row = tables.from_rows("crops", [crop_row("a.mp4", 0, 0)])
    endless = pa.array([np.zeros(2**20, np.float32)], pa.list_(pa.float32()))
    place = row.column_names.index("landmarks")
    bomb, path = row.set_column(place, row.schema.field(place), endless), str(tmp_path / "c.parquet")
    tables.write_table(Storage(), path, bomb)
    with pytest.raises(TableError, match="unpacks to 4 MiB"):
        tables.read_table(Storage(StorageConfig(max_table_mb=1)), path, "crops")


def test_more_row_groups_than_any_table_has_are_refused(tmp_path: Path) -> None:
    one = tables.from_rows("videos", [video_row("a.mp4")])
    many = pa.concat_tables([one] * 10)
    pq.write_table(many, tmp_path / "t.parquet", row_group_size=1)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TableError, match="10 row groups"):
        patch.setattr(bounded, "MOST_CHUNKS", 9 * one.num_columns)
        tables.read_table(Storage(), str(tmp_path / "t.parquet"), "videos")


def lie(path: Path, column: str) -> Path:
    """Let the footer of a table say that a column unpacks to one byte."""

    def encode(number: int, room: int = 0) -> bytes:
        parts = []
        while number or len(parts) < room:
            parts.append(number & 127 | 128)
            number >>= 7
        return bytes([*parts[:-1], parts[-1] & 127])

    data, metadata = bytearray(path.read_bytes()), pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        chunk = next(
            found
            for found in map(metadata.row_group(group).column, range(metadata.num_columns))
            if found.path_in_schema.partition(".")[0] == column
        )
        said = encode(2 * chunk.total_uncompressed_size)
        place = data.rindex(said + b"\x16" + encode(2 * chunk.total_compressed_size))
        data[place : place + len(said)] = encode(2, len(said))
    path.write_bytes(data)
    return path


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_that_unpack_to_more_than_the_footer_says_are_counted(tmp_path: Path, version: Any) -> None:
    path, rows = tmp_path / "t.parquet", 2048
    row = tables.from_rows("videos", [video_row("a.mp4")]).take(pa.array(np.zeros(rows, np.int8)))
    notes = pa.chunked_array([pa.array(["x" * 2**20])] * rows)
    with pq.ParquetWriter(
        path, row.schema, compression="zstd", use_dictionary=False, data_page_version=version
    ) as file:
        part = row.slice(0, 128)
        whole = part.set_column(
            part.column_names.index("notes"), "notes", pa.chunked_array(notes.chunks[:128])
        )
        for _ in range(rows // 128):
            file.write_table(whole)
    lie(path, "notes")
    storage = Storage(StorageConfig(max_table_mb=1024))
    assert path.stat().st_size < 2**20
    with pytest.raises(TableError, match=r"t\.parquet: unpacks to 20\d\d MiB"):
        tables.read_table(storage, str(path), "videos")
    assert tables.read_table(storage, str(path), "videos", ["video_id"]).num_rows == rows


@pytest.mark.usefixtures("small_memory")
def test_texts_that_are_told_by_what_differs_are_counted_as_long_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    text = "x" * 2**20
    row = tables.from_rows("videos", [video_row("a.mp4")]).take(pa.array(np.zeros(128, np.int8)))
    row = row.set_column(row.column_names.index("notes"), row.schema.field("notes"), pa.array([text] * 128))
    with pq.ParquetWriter(
        path,
        row.schema,
        compression="zstd",
        use_dictionary=False,
        column_encoding={"notes": "DELTA_BYTE_ARRAY"},
    ) as file:
        for _ in range(16):
            file.write_table(row)
    assert path.stat().st_size < 2**20
    with pytest.raises(TableError, match=r"t\.parquet: unpacks to 1\d\d\d MiB"):
        tables.read_table(Storage(StorageConfig(max_table_mb=1024)), str(path), "videos")
    few = tables.read_table(Storage(StorageConfig(max_table_mb=4096)), str(path), "videos", ["video_id"])
    assert few.num_rows == 2048


@pytest.mark.usefixtures("small_memory")
def test_a_manifest_that_is_a_folder_of_tables_is_bounded_as_a_table_is(tmp_path: Path) -> None:
    folder = tmp_path / "videos.parquet"
    folder.mkdir()
    pq.write_table(pa.table({"path": say_once("x" * 60_000, 40_000)}), folder / "a.parquet")
    storage = Storage(StorageConfig(max_table_mb=1024))
    with pytest.raises(UsageError, match=r"a\.parquet: unpacks to 2\d\d\d MiB"):
        manifest.read_manifest(str(folder), storage)
