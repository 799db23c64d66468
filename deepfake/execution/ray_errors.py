"""What a Ray task raised, as the error that its code raised: Ray wraps it, and adds the task's traceback."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from deepfake.errors import JobError, UsageError, list_causes
from deepfake.io.tables import TableError

RETRIES = "\nFailed to apply UDF transform after"  # what Ray Data adds to a message


@contextmanager
def raise_user_errors(work: str | None = None) -> Iterator[None]:
    """Around a wait for tasks: what they raised for the user is raised as itself.

    Anything else stays Ray's error, or is a ``JobError`` that says which ``work`` stopped.
    """
    from ray.exceptions import RayTaskError, UserCodeException  # here: the command line is read without Ray

    try:
        yield
    except (RayTaskError, UserCodeException) as error:
        if (cause := _find_own(error)) is not None:
            raise type(cause)(str(cause).partition(RETRIES)[0]) from None
        if work is None:
            raise
        raise JobError(f"{work} stopped: {error.cause or error}") from error


def leave_out_own(record: logging.LogRecord) -> bool:
    """A filter of Ray's log: without what it says at length of an error that ``raise_user_errors`` raises."""
    error = get_error_at_hand(record)
    return error is None or _find_own(error) is None


def get_error_at_hand(record: logging.LogRecord) -> BaseException | None:
    """What a line of Ray's log is about, where it is written while an error is dealt with.

    None of other lines: whatever listens to Ray's log may listen to others, too.
    """
    if not record.name.startswith("ray."):
        return None
    return record.exc_info[1] if record.exc_info else sys.exc_info()[1]


def _find_own(error: BaseException) -> BaseException | None:
    """What a task raised for the user, if it did."""
    from ray.exceptions import RayTaskError

    for cause in list_causes(error):
        if isinstance(cause, UsageError | JobError | TableError) and not isinstance(cause, RayTaskError):
            return cause
    return None


def unwrap(error: BaseException) -> BaseException:
    """The error that a task raised, where ``ray.get`` raised it here: both are of its class."""
    return getattr(error, "cause", None) or error
