"""The ways a job ends early, besides a bug."""

import signal
from collections.abc import Iterator


class UsageError(ValueError):
    """The input, the configuration or the command line is wrong; the user can mend it (exit status 2)."""


class AddressError(UsageError, OSError):
    """A name that can be no file's address: of a row of a manifest, the row's own failure."""


class JobError(RuntimeError):
    """The job could not do its work (exit status 1)."""


class NodeFault(JobError):
    """This machine cannot do a piece of work, which another may.

    ``definite``: it was examined, and can do none. ``unreadable`` are ids and URIs of videos that it cannot
    read; ``unseen``: one of them is not even there.
    """

    def __init__(
        self,
        words: str,
        definite: bool = False,
        unreadable: tuple[tuple[str, str], ...] = (),
        unseen: bool = False,
    ) -> None:
        super().__init__(words)
        self.definite, self.unreadable, self.unseen = definite, unreadable, unseen


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: raised in the main thread so that every ``finally`` runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def list_causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised for, in Python's or in Ray's words, the first cause last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = getattr(cause, "cause", None) or cause.__cause__
