"""The extraction child, with a decoder that does what a video's name says: crash, hang, eat memory, lie."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.crops.extraction import ExtractionResult
from deepfake.crops.sandbox_server import serve
from deepfake.crops.tasks import TASKS
from deepfake.errors import JobError
from deepfake.io import tables
from deepfake.io.tables import Status
from deepfake.outcome import get_clock
from deepfake.report import images


def misbehave(entry: Mapping[str, Any], asked: Mapping[str, Any], *rest: Any) -> ExtractionResult:
    name = Path(entry["uri"]).name
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("bug"):
        raise TypeError("a keyword that\nnobody knows: <Container at 0x7f01>")
    if name.startswith("stop"):
        raise JobError("the whole archive is to be given up")
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("memory"):
        bytearray(64 * 2**30)
    if name.startswith("once"):  # crashes the first time only
        mark = Path(entry["uri"] + ".seen")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("huge"):  # announces more than there can be
        _find_channel().sendall(struct.pack("<q", 2**50))
    if name.startswith("packed"):  # a table of some kilobytes that unpacks to a quarter of a gigabyte
        _find_channel().sendall(_pack_zeros())
    if name.startswith("short"):  # a table that ends too early
        whole = tables.to_ipc(pa.table({"crop": [bytes(1000)]})).to_pybytes()
        _find_channel().sendall(struct.pack("<q", len(whole) - 500) + whole[:-500])
    if name.startswith("boast"):  # of more time and bytes than there are
        get_clock().divide({"decode": 1e9}, most=1e9)
        get_clock().count(bytes_read=1e12)
    if name.startswith("chatty"):
        os.write(1, b"\xff" * 100)
    if name.startswith("resident") and os.fork() == 0:  # what stays behind answers for the videos that follow
        os.setsid()
        time.sleep(3600)
    if "silent" in memory:  # says of what follows that nobody is in it, which fits
        return _lie(name, _see_nobody(TASKS[asked["task"]](entry, asked, *rest)))
    if name.startswith("silent"):
        memory.add("silent")
    if "taken over" in memory:  # by an earlier video
        return _lie("label", TASKS[asked["task"]](entry, asked, *rest))
    if name.startswith("taken"):
        memory.add("taken over")
    return _lie(name, TASKS[asked["task"]](entry, asked, *rest))


memory: set[str] = set()

# What is answered instead, by the beginning of a video's name.
VIDEO_LIES: dict[str, dict[str, Any]] = {
    "id": {"video_id": "another.mp4"},
    "uri": {"uri": "/another.mp4"},
    "label": {"label": 1},
    "split": {"split": "train"},
    "copy": {"duplicate_of": "another.mp4"},
    "status": {"status": Status.SKIPPED_DUPLICATE},
    "count": {"faces": 1000},
    "detail": {"status_detail": "x" * 10**6},
    "duration": {"duration_s": float("nan")},
}
CROP_LIES: dict[str, tuple[str, Any]] = {
    "crop_id": ("video_id", "another.mp4"),
    "crop_label": ("label", 1),
    "crop_again": ("frame_index", 0),
    "crop_size": ("crop", images.encode_file(np.zeros((64, 64, 3), np.uint8), ".png")),
}


def _see_nobody(found: ExtractionResult) -> ExtractionResult:
    nobody = {"status": Status.NO_FACE, "faces": 0, "frames_with_face": 0}
    return replace(found, video={**found.video, **nobody}, table=found.table.slice(0, 0))


def _lie(name: str, found: ExtractionResult) -> ExtractionResult:
    what = name.partition(".")[0]
    if what in VIDEO_LIES:
        return replace(found, video={**found.video, **VIDEO_LIES[what]})
    if what in CROP_LIES:
        column, value = CROP_LIES[what]
        place = found.table.schema.get_field_index(column)
        field = found.table.schema.field(place)
        told = pa.array([value] * found.table.num_rows, field.type)
        return replace(found, table=found.table.set_column(place, field, told))
    if what == "other":  # no table that was asked for
        return replace(found, table=pa.table({"crop": [b""]}))
    if what == "wild":  # a crop that lies far outside of the table's memory
        offsets = pa.py_buffer(struct.pack("<3i", 0, 2**30, 4))
        crop = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(b"face")])
        table = found.table.take([0, 0])
        return replace(
            found, table=table.set_column(table.schema.get_field_index("crop"), table.field("crop"), crop)
        )
    return found


def _find_channel() -> socket.socket:
    """The socket to the worker, as whoever took over the process would find it."""
    for number in range(3, 256):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                return socket.socket(fileno=os.dup(number))
    raise AssertionError("there is no socket")


def _pack_zeros() -> bytes:
    table = pa.table({"crop": [bytes(2**28)]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    data = sink.getvalue().to_pybytes()
    return struct.pack("<q", len(data)) + data


serve(dict.fromkeys(TASKS, misbehave))
