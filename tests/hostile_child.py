"""The extraction child, with a decoder that does what a video's name says: crash, hang, eat memory, lie."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from deepfake.crops import chunks
from deepfake.crops.extraction import ExtractionResult, extract
from deepfake.crops.sandbox import serve

look = chunks.find_piece_faces
answers = os.fstat(1).st_ino  # the pipe, whatever its number becomes


def _extract(entry: Mapping[str, Any], *rest: Any) -> ExtractionResult:
    _misbehave(entry)
    found = extract(entry, *rest)
    name = Path(entry["uri"]).name
    if name.startswith("other"):  # no table that was asked for
        return replace(found, table=pa.table({"crop": [b""]}))
    if name.startswith("wild"):  # a crop that lies far outside of the table's memory
        offsets = pa.py_buffer(struct.pack("<3i", 0, 2**30, 4))
        crop = pa.Array.from_buffers(pa.binary(), 2, [None, offsets, pa.py_buffer(b"face")])
        table = found.table.take([0, 0])
        return replace(
            found, table=table.set_column(table.schema.get_field_index("crop"), table.field("crop"), crop)
        )
    return found


def _look(entry: Mapping[str, Any], *rest: Any) -> ExtractionResult:
    _misbehave(entry)
    return look(entry, *rest)


def _misbehave(entry: Mapping[str, Any]) -> None:
    name = Path(entry["uri"]).name
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("bug"):
        raise TypeError("a keyword that\nnobody knows: <Container at 0x7f01>")
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
        for number in [int(file.name) for file in Path("/proc/self/fd").iterdir()]:
            with contextlib.suppress(OSError):
                if os.fstat(number).st_ino == answers:
                    os.write(number, struct.pack("<q", 2**50))
                    return
    if name.startswith("chatty"):
        os.write(1, b"\xff" * 100)


chunks.find_piece_faces = _look
serve(_extract)
