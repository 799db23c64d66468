"""The extraction child, with a decoder that does what a video's name says: crash, hang, eat memory, lie."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake import pieces
from deepfake.extract import Extraction, extract
from deepfake.isolation import serve

look = pieces.look


def _extract(entry: Mapping[str, Any], *rest: Any) -> Extraction:
    _misbehave(entry)
    return extract(entry, *rest)


def _look(entry: Mapping[str, Any], *rest: Any) -> pieces.Found:
    _misbehave(entry)
    return look(entry, *rest)


def _misbehave(entry: Mapping[str, Any]) -> None:
    name = Path(entry["uri"]).name
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("hang"):
        time.sleep(3600)
    if name.startswith("memory"):
        bytearray(64 * 2**30)
    if name.startswith("once"):  # crashes the first time only
        mark = Path(entry["uri"] + ".seen")
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if name.startswith("chatty"):
        os.write(1, b"\xff" * 100)


pieces.look = _look
serve(_extract)
