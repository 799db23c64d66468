"""S3 failures in words that say what to do. Credentials never appear in them.

A bucket that cannot be used at all is the user's to mend; one object that may not be read is also a
``PermissionError``, so that among a million videos it costs only its own row.
"""

from collections.abc import Callable
from http.client import IncompleteRead
from typing import Any

import aiohttp
from botocore import exceptions as boto

from deepfake.errors import AddressError, JobError, UsageError, list_causes

_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role; "
    "a public bucket is read with --storage.anonymous true"
)
_REFUSED = {
    "InvalidAccessKeyId": "the access key is not known to the server",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": "the session token has expired",
    "InvalidToken": "the session token is not valid",
    "TokenRefreshRequired": "the session token must be refreshed",
    "RequestTimeTooSkewed": "this machine's clock is too far off",
    "AuthorizationHeaderMalformed": "the request is signed for another region; give --storage.region",
    "NotSignedUp": "the account has no S3",
    "InvalidSecurity": "the credentials are not valid",
}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403"}
_ELSEWHERE = {"PermanentRedirect", "301"}
_THROTTLED = {"SlowDown", "503", "Throttling", "ThrottlingException", "RequestLimitExceeded", "429"}
_BROKEN = {"InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "504"}
_UNMET = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey"}
_UNKNOWN = {"NotImplemented", "501", "InvalidArgument", "InvalidRequest"}
_CUT_OFF = (aiohttp.ClientError, IncompleteRead, ConnectionError, TimeoutError)
_GO_ON = "run the same command again to go on"


class AccessDenied(UsageError, PermissionError):
    """One file that the credentials may not read or write."""


def explain(error: BaseException, uri: str, probe: Callable[[str], Any]) -> Exception | None:
    """The exception to raise in place of ``error``; None where it says enough, such as a missing file.

    The answer to a HEAD request carries no reason, so ``probe(bucket)`` is asked for a listing, whose
    failure names one.
    """
    bucket = uri.removeprefix("s3://").partition("/")[0]
    if isinstance(
        error, boto.NoCredentialsError | boto.PartialCredentialsError | boto.CredentialRetrievalError
    ):
        return UsageError(f"{uri}: no S3 credentials were found; {_CREDENTIALS}")
    if isinstance(error, boto.ProfileNotFound | boto.SSOError | boto.TokenRetrievalError):
        return UsageError(f"{uri}: {error}")
    if isinstance(error, boto.ConnectionError | boto.HTTPClientError):
        return JobError(
            f"{uri}: the S3 server does not answer: {error}; "
            "check the network, and --storage.endpoint_url or AWS_ENDPOINT_URL"
        )
    if any(isinstance(one, boto.ParamValidationError) for one in list_causes(error)):
        return AddressError(f"{uri}: names what no bucket or file on S3 is called")
    code = _find_code(error)
    if code in _THROTTLED:
        return JobError(
            f"{uri}: the S3 server turns too many requests away ({code}); {_GO_ON}, with fewer --ray.workers "
            "or a larger --storage.max_attempts if it happens again"
        )
    if code in _BROKEN:
        return JobError(f"{uri}: the S3 server failed ({code}); {_GO_ON}")
    if code is None and any(isinstance(one, _CUT_OFF) for one in list_causes(error)):
        return JobError(f"{uri}: the connection to the S3 server was cut off, each time; {_GO_ON}")
    if code in {"403", "400"}:
        code = _probe_code(probe, bucket) or code
    if code in _REFUSED:
        return UsageError(f"{uri}: bucket {bucket!r} refuses these credentials: {_REFUSED[code]}")
    if code == "NoSuchBucket" or (code == "404" and uri.rstrip("/") == f"s3://{bucket}"):
        return UsageError(f"{uri}: there is no bucket {bucket!r}; make it first, or mend its name")
    if code in _ELSEWHERE:
        return UsageError(f"{uri}: bucket {bucket!r} is in another region; give --storage.region")
    if code in _DENIED:
        return AccessDenied(f"{uri}: access denied; these credentials lack a permission on bucket {bucket!r}")
    return None


def is_unmet_condition(error: BaseException) -> bool:
    """Whether a conditional write was refused for its condition."""
    return _find_code(error) in _UNMET


def is_unknown_request(error: BaseException) -> bool:
    """Whether the server says that it does not know what it was asked for."""
    return _find_code(error) in _UNKNOWN


def _find_code(error: BaseException) -> str | None:
    """S3's code for an error, or for what it was raised from."""
    told = [one for one in list_causes(error) if isinstance(one, boto.ClientError)]
    return str(told[0].response.get("Error", {}).get("Code")) if told else None


def _probe_code(probe: Callable[[str], Any], bucket: str) -> str | None:
    try:
        probe(bucket)
    except (OSError, boto.BotoCoreError, boto.ClientError) as error:
        return _find_code(error)
    return None
