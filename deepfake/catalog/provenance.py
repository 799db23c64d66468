"""What a path says of a clip, as one plain value; how paths are read is the layouts' business."""

from dataclasses import dataclass

REAL, FAKE = 0, 1


@dataclass(frozen=True)
class Provenance:
    """The provenance columns of one catalog row; the group is final only with the whole catalog."""

    dataset: str | None
    target_id: str
    label: int | None = None
    method: str | None = None
    compression: str | None = None
    split: str | None = None
    source_id: str | None = None
    group_id: str | None = None  # what a split should keep together although nobody is known
