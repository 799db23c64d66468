"""Real files with some bytes changed, for what reads foreign bytes by hand, and the lines that they reach.

``python -m tests.security.fuzz SECONDS FOLDER`` goes on for so long; what crashed a reader, or hung it, is
kept in the folder. An input that reaches a new line is changed further.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import av
import cv2
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.catalog import manifest
from deepfake.config import parse
from deepfake.crops import answers
from deepfake.crops.reader import decode_crop
from deepfake.errors import UsageError
from deepfake.faces import encoding, png
from deepfake.io import parts, tables
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError, bounded, files, pages
from deepfake.model import bundle, network_file
from deepfake.pipelines.score import case_report
from deepfake.report import images
from deepfake.training import checkpoint
from deepfake.training.data.pixel_cache import PixelCache
from deepfake.video import credentials, h264, mp4
from tests.clips import write_clip
from tests.rows import crop_row, video_row
from tests.signing import make_signer

HANG_SECONDS = 20  # of processor time
NUMBERS = [b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\0\0\0\0", b"\0\0\0\1", b"\xff" * 4]
NUMBERS += [
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\0" * 8,
    b"-1",
    b"null",
    b"[",
    b"9" * 30,
]
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@dataclass(frozen=True)
class Target:
    """What reads: ``read`` raises where it neither answers nor refuses in words. ``parsers`` are its code."""

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], None]
    parsers: tuple[Callable[..., Any], ...]
    files: int  # to be read in a test: about four seconds
    mend: Callable[[bytes], bytes] = bytes  # what lets changed bytes past a checksum


def read_boxes(data: bytes, folder: Path) -> None:
    for start, stop in mp4.find_media_ranges(io.BytesIO(data), max_boxes=1000) or ():
        assert start >= 0 and stop <= len(data)


def make_clips(folder: Path) -> list[bytes]:
    whole = write_clip(folder / "clip.mp4", frames=6, sound=True).read_bytes()
    pieces = write_clip(folder / "pieces.mp4", frames=6, muxer={"movflags": "frag_keyframe+empty_moov"})
    at = whole.index(b"mdat") - 4
    long = whole[:at] + struct.pack(">I4sQ", 1, b"mdat", len(whole) - at + 8) + whole[at + 8 :]
    many = whole[: whole.index(b"moov") - 4] + struct.pack(">I4s", 8, b"free") * 1001
    far = whole[:at] + struct.pack(">I4sQ", 1, b"mdat", 2**63) + whole[at + 8 :]
    return [whole, pieces.read_bytes(), long, many, far, whole[:at] + b"\0\0\0\0mdat" + whole[at + 8 :]]


def make_packets(folder: Path) -> list[bytes]:
    """Each: how long what says so is, that, and a packet."""
    with av.open(str(write_clip(folder / "h264.mp4", frames=6))) as container:
        stream = container.streams.video[0]
        told = bytes(stream.codec_context.extradata)
        some = [bytes(packet)[:4096] for packet in container.demux(stream) if packet.size]
    payloads = (b"\6\5\x80\0\0", b"\xff\1\6\1\x40\x80", b"\6\1\0")
    sei = [b"\0\0\1\x06" + payload + b"\0\0\1\x41\x9a" for payload in payloads]
    return [bytes([len(told)]) + told + packet for packet in some] + [b"\0" + packet for packet in sei]


def read_packet(data: bytes, folder: Path) -> None:
    length = data[0] if data else 0
    assert h264.can_start(data[1 + length :], data[1 : 1 + length]) in (True, False)


def make_crops(folder: Path) -> list[bytes]:
    made = [images.encode_file(PICTURE, suffix) for suffix in (".png", ".jpg", ".webp", ".bmp")]
    lossy, lossless = (images.encode_file(PICTURE, ".webp", [cv2.IMWRITE_WEBP_QUALITY, q]) for q in (80, 101))
    extended = b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x3f\0\0\x3f\0\0" + lossless[12:]
    filled = made[1][:2] + b"\xff\xff" + made[1][2:]
    ours = png.encode_png(PICTURE)
    at = ours.index(b"IDAT") + 4
    no_pixels = mend_png(ours[:at] + b"\xff" * 8 + ours[at + 8 :])
    wider = mend_png(ours[:19] + b"\x41" + ours[20:])
    filtered = mend_png(ours[: at - 8] + png.encode_png(PICTURE[:, ::-1])[at - 8 :])
    some = [ours, no_pixels, wider, filtered, png.encode_png(np.zeros((2, 2, 3), np.uint8))]
    mirrored = made[3][:18] + struct.pack("<i", -64) + made[3][22:]
    return [*some, mirrored, *made, lossy, lossless, extended, filled, made[3][:14] + b"\x0c", made[0][:20]]


def read_crop(data: bytes, folder: Path) -> None:
    size = encoding.read_size(data)
    assert size is None or min(size) >= 0
    with contextlib.suppress(TableError):
        assert decode_crop(data, None).ndim == 3
    ours = png.decode_png(data)
    assert ours is None or ours.dtype == np.uint8


def mend_png(data: bytes) -> bytes:
    """With the checksums of chunks that these have."""
    if data[:8] != png.SIGNATURE:
        return data
    position, made = 8, [data[:8]]
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position : position + 8 + length]
        made += [body, struct.pack(">I", zlib.crc32(body[4:]))]
        position += 12 + length
    return b"".join(made) + data[position:]


def make_tables(folder: Path) -> list[bytes]:
    crops = tables.from_rows("crops", [crop_row("a.mp4", i, 0) for i in range(4)], "0" * 64)
    older = crops.replace_schema_metadata({b"deepfake.schema_version": b"1"})
    typed = crops.set_column(0, "video_id", pa.array([1] * 4))
    labelled = crops.set_column(crops.column_names.index("label"), "label", pa.array([7] * 4, pa.int8()))
    named = crops.set_column(0, crops.schema.field(0), pa.array(["x" * 2**17] * 4))
    broken = crops.set_column(0, crops.schema.field(0), pa.array([b"\xff"] * 4).view(pa.string()))
    videos = tables.from_rows("videos", [video_row("a.mp4")])
    listed = [
        videos.replace_schema_metadata({**videos.schema.metadata, parts.PARTS_KEY: parts_of})
        for parts_of in (b'{"crops": ["a.parquet"]}', b'{"crops": ["../a.parquet"]}', b"[")
    ]
    made, others = [], [older, typed, labelled, named, broken, crops.drop_columns(["box"])]
    for number, table in enumerate([crops, *listed, *others]):
        tables.write_table(Storage(), str(folder / f"{number}.parquet"), table)
        made.append((folder / f"{number}.parquet").read_bytes())
    no_name = made[0].replace(b"frame_index", b"frame_inde\xff")
    no_footer = made[1][:-40] + b"\xff" * 32 + made[1][-8:]
    return [*made, no_name, no_footer, b""]


def read_parquet(data: bytes, folder: Path) -> None:
    path = folder / "_manifest.parquet"
    path.write_bytes(data)
    for read in (
        lambda: tables.read_table(Storage(), str(path), "crops"),
        lambda: parts.read_part_names(str(folder), Storage()),
        lambda: list(tables.read_rows_of_videos(Storage(), str(path), "crops", pa.array(["a.mp4"]))),
    ):
        try:
            read()
        except (TableError, UsageError) as error:
            assert "_manifest.parquet" in str(error)


def make_pages(folder: Path) -> list[bytes]:
    """The pages of columns of text, and what is none."""
    text, made = pa.table({"a": ["x" * (i % 7) for i in range(64)]}), []
    for version in ("1.0", "2.0"):
        for encoded in (
            {"use_dictionary": True},
            {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"},
        ):
            pq.write_table(text, folder / "a", data_page_version=version, **encoded)
            chunk = pq.read_metadata(folder / "a").row_group(0).column(0)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            made.append((folder / "a").read_bytes()[start:][: chunk.total_compressed_size])
    return [
        *made,
        b"\x1c" * 2000,
        b"\x15" + b"\xff" * 2000,
        b"\x19",
        b"\x18\xff\xff\xff\x7f",
        b"\x15\x04" * 4 + b"\0",
    ]


def read_pages(data: bytes, folder: Path) -> None:
    with contextlib.suppress(ValueError):
        found = pages.measure_pages(io.BytesIO(data), 0, len(data))
        assert min(found.size, found.values) >= 0


def make_bundles(folder: Path) -> list[bytes]:
    bundle.write_bundle(str(folder), Storage(), bundle.BundleInfo(model_sha256="0" * 64, threshold=0.5))
    whole = (folder / "bundle.json").read_bytes()
    raw = json.loads(whole)
    changes = ({"format": 0}, {"rows_version": 0}, {"threshold": "x"}, {"threshold": 0.25})
    return [
        whole,
        *(json.dumps(raw | one).encode() for one in changes),
        b"",
        b"\xff",
        b"[]",
        b"[" * 10_000,
        b"{",
    ]


def read_bundle(data: bytes, folder: Path) -> None:
    (folder / "bundle.json").write_bytes(data)
    if not data:
        (folder / "bundle.json").unlink()
    try:
        bundle.read_bundle_info(str(folder), Storage())
    except UsageError as error:
        assert "bundle.json" in str(error)


def make_answers(folder: Path) -> list[bytes]:
    crops = tables.from_rows("crops", [crop_row("a.mp4", i, 0) for i in range(4)])
    made = [tables.to_ipc(crops).to_pybytes(), tables.to_ipc(crops.slice(0, 0)).to_pybytes()]
    for options in (pa.ipc.IpcWriteOptions(compression="lz4"), pa.ipc.IpcWriteOptions()):
        sink = pa.BufferOutputStream()
        words = crops if options.compression else pa.table({"a": pa.array(["x"]).dictionary_encode()})
        with pa.ipc.new_stream(sink, words.schema, options=options) as stream:
            stream.write_table(words)
        made.append(sink.getvalue().to_pybytes())
    return [*made, made[0][:-100], made[0][:4] + b"\0\0\0\x80" + made[0][8:]]


def read_answer(data: bytes, folder: Path) -> None:
    with contextlib.suppress(ValueError, pa.ArrowException):
        assert answers.read_answer(data, "crops").schema == tables.SCHEMAS["crops"]


def make_weights(folder: Path) -> list[bytes]:
    made = []
    for number in range(4):
        sink = io.BytesIO()
        with h5py.File(sink, "w") as file:
            file.create_group("layers/dense/vars").create_dataset("0", data=np.zeros((4, 3), np.float32))
            file.create_dataset("packed", data=np.zeros((64, 64), np.float32), compression="gzip")
            if number == 1:
                file["link"] = h5py.ExternalLink("/etc/passwd", "/")
            if number == 2:
                file.create_dataset("out", (4,), "f4", external=[("/etc/passwd", 0, 16)])
            if number == 3:
                file.create_group("/".join("d" * 102))
        made.append(sink.getvalue())
    return made


def read_weights(data: bytes, folder: Path) -> None:
    with contextlib.suppress(Exception):  # of any kind: whoever asks puts it in words
        network_file.check_weight_shapes(data, "model.keras", 1)


def make_cases(folder: Path) -> list[bytes]:
    whole = (
        b"reference: A/7\nexaminer: ''\nquestion: |\n  one\n  two\nitems:\n  - video: a.mp4\n    item: 041\n"
        b"    sha256: " + b"ab" * 32 + b"\n  - {video: b.mp4, received: 2026-01-31, note: 0b1}\n"
    )
    odd = (
        b"a: *b",
        b"recipe:linear",
        b"recipe:none",
        b"[" * 400,
        b"a: !!int x",
        b"at: 2001-99-99",
        b"\0",
        b"[1]",
        b"",
        b"items: 7",
    )
    return [whole, *odd, b"items: []", b"items: [{video: a, sha256: ab}]"]


def read_yaml_file(data: bytes, folder: Path) -> None:
    path = folder / "case.yaml"
    path.write_bytes(data)
    if not data:
        path.unlink()
    name = data[:40].decode("latin-1") if data.startswith(b"recipe:") else str(path)
    for read in (
        lambda: case_report.read_case(str(path), Storage()),
        lambda: parse.read_yaml(name),
    ):
        try:
            read()
        except UsageError as error:
            assert ("case.yaml" in str(error) or "no such recipe" in str(error)) and len(str(error)) < 3000


def make_labels(folder: Path) -> list[bytes]:
    return [
        b"video_id,label\na.mp4,real\n'=b.mp4,fake\nc.mp4,unsure\nd.mp4,\n",
        b"\xef\xbb\xbfvideo_id;label;note\r\na;1;x\r\n", b"label\tpath\nreal\ta\n", b"video_id\na\n",
        b"a,b\n1,2\n", b"PK\x03\x04", b"\xff\xfev\0", b"video_id,label\na,7\n", b"video_id,label\na,1\na,0\n",
        b"video_id,label\n\xff,1\n", b'video_id,label\n"a,1\n', b"", b",".join([b"long name"] * 200) + b"\n",
    ]  # fmt: skip


def read_labels(data: bytes, folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_bytes(data)
    try:
        found = manifest.read_labels(str(path), Storage())
        assert found.column_names == ["video_id", "label"]
    except UsageError as error:
        assert "labels.csv" in str(error) and len(str(error)) < 3000


def make_credentials(folder: Path) -> list[bytes]:
    clip, signed = write_clip(folder / "clip.mp4", frames=2), folder / "signed.mp4"
    make_signer().sign(clip, signed)
    kinds = (b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\xff\xd8\xff\xe0", b"RIFF")
    return [signed.read_bytes(), clip.read_bytes(), *kinds, b"\0" * 16]


def read_signed(data: bytes, folder: Path) -> None:
    found = credentials.read_credentials(io.BytesIO(data), True, "")
    assert found["credentials"] in ("none", "unread", "valid", "invalid")
    assert all(len(value or "") <= credentials.MOST_LETTERS for value in found.values())


def make_pixels(folder: Path) -> list[bytes]:
    cache = PixelCache(folder, "seed", 2, 8, 10**6)
    cache.write(1, PICTURE[:8, :8])
    (file,) = folder.glob("seed-*")
    return [file.read_bytes(), file.read_bytes()[:-1], b""]


def read_pixels(data: bytes, folder: Path) -> None:
    for file in folder.glob("train-*"):
        file.unlink()
    cache = PixelCache(folder, "train", 2, 8, 10**6)
    assert cache.read(0) is None and cache.read(2) is None
    (file,) = folder.glob("train-*")
    file.write_bytes(data)
    for row in range(2):
        found = cache.read(row)
        assert found is None or found.shape[0] <= 8


def make_states(folder: Path) -> list[bytes]:
    """Of a state and an archive, with a zero byte between."""
    state = checkpoint.TrainingState(2, 3, 0.5, history=[{"loss": 0.5}], tracked={"mlflow": "a"})
    checkpoint.save_checkpoint(folder, state, {"a": [np.zeros(3)] * 2, "b": [np.array(7)]})
    told = (folder / "state.json").read_bytes()
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.zeros(3))
    arrays = (folder / "arrays.npz").read_bytes()
    return [
        told + b"\0" + arrays,
        told + b"\0" + packed.getvalue(),
        told.replace(b"3", b"2") + b"\0" + arrays,
    ]


def read_state(data: bytes, folder: Path) -> None:
    told, _, arrays = data.partition(b"\0")
    (folder / "state.json").write_bytes(told)
    (folder / "arrays.npz").write_bytes(arrays)
    with contextlib.suppress(checkpoint.CheckpointError):
        assert checkpoint.load_checkpoint(folder)[0].epoch in range(-(10**40), 10**40)


TARGETS = {
    "mp4": Target(make_clips, read_boxes, (mp4.find_media_ranges,), 7000),
    "h264": Target(
        make_packets,
        read_packet,
        (
            h264.can_start,
            h264.split_units,
            h264.read_recovery_frames,
            h264.read_number,
            h264.read_unsigned,
        ),
        60000,
    ),
    "crop": Target(
        make_crops,
        read_crop,
        (
            png.decode_png,
            encoding.read_size,
            encoding.read_jpeg_size,
            encoding.read_webp_size,
            encoding.decode_image,
        ),
        6000,
        mend_png,
    ),
    "table": Target(
        make_tables,
        read_parquet,
        (
            files.read_table,
            files.check_rows,
            files.check_file,
            files.open_table.__wrapped__,
            files.open_parquet.__wrapped__,
            files.read_rows_of_videos,
            bounded.BoundedFile.require_bounded,
            parts.read_part_names,
        ),
        1700,
    ),
    "pages": Target(
        make_pages,
        read_pages,
        (
            pages.measure_pages,
            pages.read_header,
            pages.Compact.read_struct,
            pages.Compact._read_value,
            pages.Compact._read_bits,
        ),
        6000,
    ),
    "bundle": Target(make_bundles, read_bundle, (bundle.read_bundle_info,), 7000),
    "answer": Target(
        make_answers,
        read_answer,
        (
            answers.read_answer,
            answers.is_compressed,
            answers.find_field,
        ),
        40000,
    ),
    "weights": Target(make_weights, read_weights, (network_file.check_weight_shapes,), 1400),
    "case": Target(
        make_cases,
        read_yaml_file,
        (
            case_report.read_case,
            parse.read_yaml,
        ),
        300,
    ),
    "labels": Target(
        make_labels,
        read_labels,
        (manifest.read_labels,),
        600,
    ),
    "credentials": Target(
        make_credentials,
        read_signed,
        (credentials.read_credentials,),
        500,
    ),
    "pixels": Target(make_pixels, read_pixels, (PixelCache.read,), 1000),
    "checkpoint": Target(make_states, read_state, (checkpoint.load_checkpoint,), 1500),
}


class Fuzzer:
    """Changes the bytes of a target's files, again and again; the same number gives the same bytes."""

    def __init__(self, target: Target, folder: Path, seed: int = 0) -> None:
        self._target, self._folder, self._random = target, folder, random.Random(seed)
        self._codes = {code for parser in target.parsers for code in _list_codes(parser.__code__)}
        self.lines = {(code, line) for code in self._codes for line in _list_lines(code)}
        self.reached: set[tuple[CodeType, int]] = set()
        self._pool = target.seeds(folder)
        self._unread = list(self._pool)
        self.data = b""

    def choose(self) -> None:
        """What to read next: first all that are whole, then changed ones."""
        self.data = self._unread.pop() if self._unread else self._change(self._random.choice(self._pool))

    def read(self) -> None:
        """Read it; raises what the reader raises."""
        before = len(self.reached)
        with self._watching():
            self._target.read(self.data, self._folder)
        if len(self.reached) > before and len(self._pool) < 500:
            self._pool.append(self.data)

    def _change(self, data: bytes) -> bytes:
        random = self._random
        for _ in range(random.choice((1, 1, 2, 4))):
            place = int(len(data) * random.choice((0.05, 1, 1)) * random.random())
            if random.random() < 0.2:  # near the end, where Parquet has its footer
                place = max(0, len(data) - random.randrange(1, 2000))
            new, size = random.choice(NUMBERS), random.choice((1, 2, 4, 8, 64, 4096))
            how = random.randrange(7)
            if how < 2:
                data = data[:place] + new + data[place + len(new) :]
            elif how == 2:
                data = data[:place] + new + data[place:]
            elif how == 3:
                data = data[:place] + data[place + size :]
            elif how == 4:
                data = data[:place] + data[place : place + size] + data[place:]
            elif how == 5 and place < len(data):
                data = data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
            elif random.random() < 0.3:
                other = random.choice(self._pool)
                data = data[:place] + other[place : place + size] + data[place + size :]
        return self._target.mend(data) if random.random() < 0.5 else data

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        def on_call(frame: FrameType, event: str, argument: Any) -> Any:
            return on_line if frame.f_code in self._codes else None

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "line":
                self.reached.add((frame.f_code, frame.f_lineno))
            return on_line

        earlier = sys.gettrace()
        sys.settrace(on_call)
        try:
            yield
        finally:
            sys.settrace(earlier)


def _list_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _list_codes(constant)


def _list_lines(code: CodeType) -> set[int]:
    return {line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno}


def main(seconds: float, kept: Path) -> None:
    """All targets in turn, in forks: a reader that takes the process down costs a fork."""
    kept.mkdir(parents=True, exist_ok=True)
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for name in TARGETS:
            number += 1
            fork = os.fork()
            if not fork:
                os._exit(_run(name, number, kept, min(end, time.monotonic() + 30)))
            _, status = os.waitpid(fork, 0)
            if code := os.waitstatus_to_exitcode(status):
                (kept / f"{name}.now").rename(kept / f"{name}-{number}.crash")
                _say(f"{name} {number}: status {code}")


def _run(name: str, number: int, kept: Path, until: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(TARGETS[name], Path(folder), number)
        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**32, mapped + 2**32))
        files_read = 0
        while time.monotonic() < until:
            signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)  # its signal ends the process
            fuzzer.choose()
            (kept / f"{name}.now").write_bytes(fuzzer.data)
            try:
                fuzzer.read()
            except BaseException as error:  # noqa: BLE001 - each is a find
                _say(f"{name} {number}: {error!r}"[:500])
                return 1
            files_read += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        share = len(fuzzer.reached & fuzzer.lines) / len(fuzzer.lines)
        _say(f"{name} {number}: {files_read} files, {share:.1%} of the lines")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]))
