"""How storage is reached."""

from pydantic import Field, field_validator

from deepfake.config.base import Section, require_endpoint


class StorageConfig(Section):
    """How URIs are reached. Credentials come from the standard chain only, never from here."""

    endpoint_url: str | None = Field(
        None, description="S3 endpoint (default: AWS_ENDPOINT_URL, then AWS itself)"
    )
    region: str | None = Field(None, description="S3 region (default: the standard chain)")
    anonymous: bool = Field(False, description="unsigned S3 requests, for public buckets")

    _is_one = field_validator("endpoint_url")(require_endpoint)

    max_attempts: int = Field(5, ge=1, description="tries of one S3 request, with backoff")
    max_network_mb: int = Field(
        2048,
        ge=1,
        description="a bundle whose network is larger, in MiB and unpacked, is refused; the largest of "
        "keras.applications that a training makes has 100, the large ones of KerasHub 1,200 to 1,700",
    )
    max_table_mb: int = Field(
        2048,
        ge=1,
        description="a table whose file unpacks to more than its size and so many MiB is refused",
    )
