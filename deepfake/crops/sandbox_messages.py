"""Messages between a worker and the processes that look at videos for it: a length, then so many bytes.

Every wait has a deadline where one is given: whoever is on the other end may have stopped reading, or lie.
"""

import json
import re
import socket
import struct
import sys
import time
import traceback
from pathlib import Path

import pyarrow as pa

import deepfake
from deepfake.errors import JobError, UsageError
from deepfake.io.tables import PROGRAM_FAULT

# What a worker asks of its server: a fork with the channel sent along, one that opens files on S3, its end.
FORK, REMOTE, END = b"f", b"r", b"e"
ENDED = struct.Struct("<i")  # the server's answer to the last: the fork's exit status, negative of a signal
_LENGTH = struct.Struct("<q")
# Answers in words instead of tables, which never begin so.
_STOP = b"stop: "  # the storage's fault, not the video's
_FAULT = b"fault: "  # our own code raised
_LEAST_SECONDS = 1e-3  # 0 would mean not to wait at all


class ProgramFault(Exception):
    """Our own code raised in the child. The message is a ``status_detail``."""

    def __init__(self, words: str, place: str, trace: str) -> None:
        super().__init__(f"{PROGRAM_FAULT}: {words} ({place})")
        self.place, self.trace = place, trace


class Channel:
    """One end of a pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, message: bytes | pa.Buffer, deadline: float | None = None) -> None:
        """Send a message whole; ``TimeoutError`` past the deadline (monotonic)."""
        content = memoryview(message)
        self._wait_until(deadline)
        self.end.sendall(_LENGTH.pack(content.nbytes))
        self._wait_until(deadline)
        self.end.sendall(content)

    def receive(self, deadline: float | None = None, most: int = sys.maxsize) -> bytearray:
        """One message.

        Raises ``EOFError`` where the other end is closed, ``TimeoutError`` past the deadline, and
        ``ValueError`` for a message of more than ``most`` bytes.
        """
        (length,) = _LENGTH.unpack(self._receive_exactly(_LENGTH.size, deadline))
        if not 0 <= length <= most:
            raise ValueError(f"a message of {length} bytes")
        return self._receive_exactly(length, deadline)

    def close(self) -> None:
        """Close this end."""
        self.end.close()

    def _receive_exactly(self, length: int, deadline: float | None) -> bytearray:
        content = bytearray(length)
        missing = memoryview(content)
        while missing:
            self._wait_until(deadline)
            count = self.end.recv_into(missing)
            if not count:
                raise EOFError
            missing = missing[count:]
        return content

    def _wait_until(self, deadline: float | None) -> None:
        if deadline is None:
            self.end.settimeout(None)
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.end.settimeout(max(left, _LEAST_SECONDS))


def make_complaint(error: Exception) -> bytes:
    """What the child answers where an exception came instead of tables."""
    if isinstance(error, JobError | UsageError):
        return _STOP + str(error).encode()
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(deepfake.__file__).parent
    last = [frame for frame in frames if Path(frame.filename).is_relative_to(package)][-1]
    place = f"{Path(last.filename).relative_to(package.parent)}:{last.lineno}"
    message = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))  # addresses differ from run to run
    trace = "".join(traceback.format_exception(error))
    return _FAULT + json.dumps([f"{type(error).__name__}: {message}", place, trace]).encode()


def require_no_complaint(answer: bytearray) -> bytearray:
    """The same answer; raises ``JobError`` or ``ProgramFault`` where it is words.

    A child that was taken over chooses them: they are kept short and printable.
    """
    if answer.startswith(_STOP):
        raise JobError(make_printable(answer.removeprefix(_STOP)[:1000].decode(errors="replace")))
    if answer.startswith(_FAULT):
        try:
            words, place, trace = map(str, json.loads(answer.removeprefix(_FAULT)))
        except (TypeError, RecursionError) as error:
            raise ValueError("a complaint that is none") from error
        raise ProgramFault(
            make_printable(words[:300]), make_printable(place[:100]), make_printable(trace[-10_000:])
        )
    return answer


def make_printable(text: str) -> str:
    """Text without what could steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
