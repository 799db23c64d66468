"""A few processes, started once, that take one call after another; so that starting them is not measured."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, TypeVar, cast

from deepfake.errors import JobError

Result = TypeVar("Result")


class Processes:
    """``count`` processes; use as a context manager, which ends them whatever they are doing."""

    def __init__(self, count: int) -> None:
        # Not forked: a copy of a process in which Ray's and FFmpeg's threads run may hang.
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._connections: list[Connection] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()  # so that a process that dies is seen as the end of its pipe
            self._processes.append(process)
            self._connections.append(ours)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process, connection in zip(self._processes, self._connections, strict=True):
            process.join()
            connection.close()

    def map(
        self, function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], width: int | None = None
    ) -> list[Result]:
        """``function(*call)`` of every call, in their order; a free process takes the next one.

        ``width``: use no more processes than this. Raises ``JobError`` where a process ends early.
        """
        idle = self._connections[:width]
        waiting = deque(enumerate(calls))
        busy: dict[Connection, int] = {}
        results: dict[int, Result] = {}
        while waiting or busy:
            while idle and waiting:
                connection = idle.pop()
                number, call = waiting.popleft()
                connection.send((function, call))
                busy[connection] = number
            for ready in wait(list(busy)):
                connection = cast(Connection, ready)
                number = busy.pop(connection)
                try:
                    results[number] = connection.recv()
                except EOFError:
                    raise JobError(
                        f"a process ended in {function.__name__}{calls[number]}; its own words are above"
                    ) from None
                idle.append(connection)
        return [results[number] for number in range(len(calls))]


def _serve(connection: Connection) -> None:
    """Do calls until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    while True:
        try:
            function, call = connection.recv()
        except EOFError:
            return
        connection.send(function(*call))
