"""The ways a job ends early, besides a bug."""

import signal


class UsageError(ValueError):
    """The input, the configuration or the command line is wrong; the user can mend it (exit status 2)."""


class JobError(RuntimeError):
    """The job could not do its work (exit status 1)."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: raised in the main thread so that every ``finally`` runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
