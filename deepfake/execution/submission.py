"""What is different for a job that ``ray job submit`` has started: its working directory is Ray's."""

import os
import re

from deepfake.errors import UsageError
from deepfake.io.uri import split_uri

# Ray sets it for the process that it starts for a submission, and for no other; seen in 2.60.0.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_SESSION = re.compile(r"/session_(latest|\d{4}-\d\d-\d\d_[\d-]+_\d+_\d+)(/|$)")
_INSTEAD = "give s3://bucket/folder, or an absolute path on a file system that all nodes share"


def is_submitted() -> bool:
    """Whether this process is the entry point of a submitted job."""
    return JOB_VARIABLE in os.environ


def require_lasting(output: str) -> None:
    """``UsageError`` where a submitted job would write into Ray's own folders, which are removed with it.

    A submitted job works in a copy of what was uploaded, so that a relative path leads there.
    """
    if not is_submitted():
        return
    scheme, path = split_uri(output)
    if scheme != "file":
        return
    if "://" not in output and not os.path.isabs(os.path.expanduser(output)):  # noqa: PTH111, PTH117
        raise UsageError(
            f"--output {output}: a relative path, in a job that ray job submit has started, leads into Ray's "
            f"own copy of the working directory, which is removed; {_INSTEAD}"
        )
    if _SESSION.search(os.path.realpath(path)):
        raise UsageError(f"--output {output} lies in a folder of Ray's, which is removed; {_INSTEAD}")
