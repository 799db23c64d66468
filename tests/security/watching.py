"""Sees whether a file is opened or a connection made, whoever does it."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType

import pytest

_IN_ACCESS, _IN_OPEN = 0x1, 0x20  # sys/inotify.h


class WatchedFile:
    """Counts what the kernel reports on one file: every open, every read, by any process (Linux only)."""

    def __init__(self, path: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("inotify is Linux's")
        self._path = path

    def __enter__(self) -> WatchedFile:
        libc = ctypes.CDLL(None, use_errno=True)
        self._queue = libc.inotify_init1(os.O_NONBLOCK)
        if (
            self._queue < 0
            or libc.inotify_add_watch(self._queue, os.fsencode(self._path), _IN_ACCESS | _IN_OPEN) < 0
        ):
            raise OSError(ctypes.get_errno(), f"{self._path}: cannot be watched")
        return self

    @property
    def touched(self) -> bool:
        """Whether anything happened to the file since the last look."""
        try:
            return bool(os.read(self._queue, 65536))
        except BlockingIOError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._queue)


class WatchedPort:
    """A loopback port that takes note of every connection, and closes it."""

    def __enter__(self) -> WatchedPort:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
