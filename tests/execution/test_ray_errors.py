"""Errors of Ray tasks, as their code raised them."""

from __future__ import annotations

import logging

import pytest
from ray.exceptions import RayTaskError, UserCodeException

from deepfake.errors import JobError, UsageError
from deepfake.execution import session
from deepfake.execution.ray_errors import RETRIES, leave_out_own, raise_user_errors
from deepfake.io.s3_errors import AccessDenied
from deepfake.io.tables import TableError


def fail(error: Exception) -> None:
    """Raise what ``ray.get`` raises for a task that ended in an error."""
    raise RayTaskError("task", "a traceback in task", error).as_instanceof_cause()


@pytest.mark.parametrize("kind", [UsageError, JobError, TableError, AccessDenied])
def test_what_a_task_raised_for_the_user_is_raised_as_itself(kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, raise_user_errors("the work"):
        fail(kind("a.mp4: what is wrong"))
    assert type(caught.value) is kind
    assert str(caught.value) == "a.mp4: what is wrong"


@pytest.mark.parametrize("kind", [UsageError, JobError, TableError, AccessDenied])
def test_what_ray_data_calls_an_error_of_its_users_code_is_raised_as_itself(kind: type[Exception]) -> None:
    """It wraps twice: the task's error in its own, and adds how often it tried."""
    with pytest.raises(kind) as caught, raise_user_errors("the work"):
        try:
            fail(kind(f"a.mp4: what is wrong{RETRIES} 3 attempts"))
        except RayTaskError as error:
            raise UserCodeException("UDF failed to process a data block.") from error
    assert type(caught.value) is kind
    assert str(caught.value) == "a.mp4: what is wrong"


def test_a_fault_of_the_program_is_a_job_error_that_names_the_work() -> None:
    with pytest.raises(JobError, match=r"the work stopped: .*divided"), raise_user_errors("the work"):
        fail(ZeroDivisionError("divided"))


def test_without_a_name_for_the_work_a_fault_keeps_the_traceback_of_its_task() -> None:
    with pytest.raises(RayTaskError, match="in task"), raise_user_errors():
        fail(ZeroDivisionError("divided"))


def test_an_error_of_this_process_is_left_alone() -> None:
    with pytest.raises(KeyError), raise_user_errors("the work"):
        raise KeyError("here")


@pytest.mark.parametrize("has_traceback", [True, False])
def test_ray_s_log_says_of_what_a_task_raised_for_the_user_nothing(has_traceback: bool) -> None:
    """Ray Data told each such error twice, with all its tracebacks: 12 kB before the sentence."""
    for kind, is_shown in ((TableError, False), (UsageError, False), (ZeroDivisionError, True)):
        try:
            fail(kind("what is wrong"))
        except RayTaskError as error:
            told = (type(error), error, None) if has_traceback else None
            record = logging.LogRecord("ray.data.x", logging.ERROR, "x.py", 1, "Aborted", (), told)
            assert leave_out_own(record) is is_shown
            record.name = "deepfake.x"  # of a log that the same handler shows
            assert leave_out_own(record)
    session.quieten_ray()
    shown = [one for one in logging.getLogger("ray.data").handlers if getattr(one, "stream", None)]
    assert shown and all(leave_out_own in one.filters for one in shown)
