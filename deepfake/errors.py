"""The two ways a job ends badly, besides a bug; and what a video is that gives no frames."""

from deepfake.io.tables import Status


class UsageError(ValueError):
    """The input, the configuration or the command line is wrong; the user can mend it (exit status 2)."""


class JobError(RuntimeError):
    """The job could not do its work (exit status 1)."""


class VideoError(Exception):
    """A file that gives no frames, with the status that says why.

    ``retry`` where the machine may be at fault and not the file: another run may fare better.
    """

    def __init__(self, status: Status, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retry = retry
