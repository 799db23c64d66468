"""What a video is that gives no frames."""

from deepfake.io.tables import Status


class VideoError(Exception):
    """A file that gives no frames, with the status that says why.

    ``retry`` where the machine may be at fault and not the file: another run may fare better.
    """

    def __init__(self, status: Status, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retry = retry
