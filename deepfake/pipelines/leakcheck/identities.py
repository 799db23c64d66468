"""Identities that are in more than one split, as findings; ``catalog.identity_overlap`` searches for them."""

from __future__ import annotations

import pyarrow as pa

from deepfake.catalog import identity_overlap
from deepfake.pipelines.leakcheck.findings import Finding


def find_shared(videos: pa.Table) -> list[Finding]:
    """One finding for each identity and pair of splits, with a video of either split as example."""
    labels = dict(zip(videos["video_id"].to_pylist(), videos["label"].to_pylist(), strict=True))
    return [
        Finding(
            kind=found.kind,
            key=found.identity,
            split_a=found.split_a,
            split_b=found.split_b,
            video_a=found.video_a,
            video_b=found.video_b,
            label_a=labels[found.video_a],
            label_b=labels[found.video_b],
        )
        for found in identity_overlap.find_overlaps(videos)
    ]
