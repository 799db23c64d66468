"""Where the work runs."""

from typing import Literal

from pydantic import Field

from deepfake.config.base import Section


class RayConfig(Section):
    """Where the work runs."""

    address: str | None = Field(
        None,
        description="a running cluster (auto, host:port; for ray://... use ray job submit); default: "
        "RAY_ADDRESS, else an embedded Ray on this machine",
    )
    start: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether an embedded Ray is started: auto: not where a job is less work than starting "
        "workers takes, or a training of one worker that takes minutes, which are then done in the job's own "
        "process; never: whatever it is",
    )
    num_cpus: int | None = Field(None, ge=1, description="CPUs of an embedded Ray (default: all)")
    object_store_mb: int = Field(512, ge=80, description="object store of an embedded Ray, in MiB")
    workers: int | None = Field(
        None,
        ge=1,
        description="at most so many parallel workers (default: all that the cluster has or starts)",
    )
