"""What each failure of S3 becomes: whose it is to mend, and in which words."""

from __future__ import annotations

from typing import Any, NoReturn

import aiohttp
import pytest
from botocore import exceptions as boto

from deepfake.errors import JobError, UsageError
from deepfake.io import s3_errors
from deepfake.io.s3_errors import AccessDenied, explain

URI = "s3://archive/a/clip.mp4"


def error(code: str) -> boto.ClientError:
    return boto.ClientError({"Error": {"Code": code, "Message": "key AKIASECRET"}}, "GetObject")


def not_asked(bucket: str) -> NoReturn:
    pytest.fail(f"the listing of {bucket} was asked for")


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (boto.NoCredentialsError(), UsageError, "no S3 credentials were found"),
        (boto.ProfileNotFound(profile="mine"), UsageError, "mine"),
        (boto.EndpointConnectionError(endpoint_url="http://x"), JobError, "does not answer"),
        (error("SlowDown"), JobError, r"too many requests away \(SlowDown\)"),
        (error("InternalError"), JobError, r"the S3 server failed \(InternalError\)"),
        (aiohttp.ClientPayloadError(), JobError, "was cut off"),
        (error("SignatureDoesNotMatch"), UsageError, "the secret key does not fit"),
        (error("NoSuchBucket"), UsageError, "there is no bucket 'archive'"),
        (error("301"), UsageError, "in another region"),
        (error("AccessDenied"), AccessDenied, "access denied.*bucket 'archive'"),
    ],
)
def test_a_failure_names_the_file_and_what_to_do_and_no_key(
    failure: BaseException, kind: type[Exception], words: str
) -> None:
    found = explain(failure, URI, not_asked)
    assert type(found) is kind
    with pytest.raises(kind, match=f"^{URI}: .*{words}"):
        raise found
    assert "AKIASECRET" not in str(found)


@pytest.mark.parametrize("missing", [error("404"), error("NoSuchKey"), FileNotFoundError(URI)])
def test_a_file_that_is_not_there_is_no_failure_of_s3(missing: BaseException) -> None:
    assert explain(missing, URI, not_asked) is None


def test_where_the_bucket_itself_is_not_there_a_bare_404_says_it() -> None:
    with pytest.raises(UsageError, match="there is no bucket 'archive'"):
        raise explain(error("404"), "s3://archive/", not_asked) or AssertionError


def test_a_cause_counts_as_the_error() -> None:
    outer = OSError("input/output error")
    outer.__cause__ = error("ServiceUnavailable")
    assert type(explain(outer, URI, not_asked)) is JobError


def test_an_answer_without_a_reason_is_explained_by_that_to_a_listing() -> None:
    asked: list[str] = []

    def expired(bucket: str) -> NoReturn:
        asked.append(bucket)
        raise error("ExpiredToken")

    with pytest.raises(UsageError, match="the session token has expired"):
        raise explain(error("403"), URI, expired) or AssertionError
    assert asked == ["archive"]


def test_one_file_that_may_not_be_read_is_so_where_the_bucket_may_be_listed() -> None:
    def listed(bucket: str) -> list[Any]:
        return []

    assert isinstance(explain(error("403"), URI, listed), PermissionError)


def test_unmet_conditions_are_told_from_requests_that_the_server_does_not_know() -> None:
    assert s3_errors.is_unmet_condition(error("PreconditionFailed"))
    assert not s3_errors.is_unmet_condition(error("NotImplemented"))
    assert s3_errors.is_unknown_request(error("NotImplemented"))
    assert not s3_errors.is_unknown_request(error("PreconditionFailed"))
