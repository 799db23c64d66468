"""Everything that a leak check has found out, its verdict, and the same as JSON."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.splits import rank_split
from deepfake.config import LeakcheckJobConfig, hash_config
from deepfake.pipelines.leakcheck import findings, probes, uploads
from deepfake.pipelines.leakcheck.findings import Finding
from deepfake.pipelines.leakcheck.inputs import LeakcheckInput
from deepfake.pipelines.leakcheck.probes import Probe

OK, LEAKS = "no leak found", "splits overlap"
IN_PART = "no leak found by the checks that were made"
PERHAPS = "splits may overlap"  # pictures that are nearly the same
CONFLICT = "copies contradict each other"
SHORTCUT = "fakes can be told without faces"


@dataclass(frozen=True)
class LeakcheckResult:
    """Everything that was found out."""

    input: LeakcheckInput
    findings: list[Finding]
    probes: list[Probe]
    uploads: uploads.Uploads | None
    pictures: pa.Table
    failing: list[str]  # what makes the job fail, in words
    warnings: list[str]
    not_looked_for: list[str]  # kinds of findings
    counts: dict[str, int] = field(default_factory=dict)  # findings about the input, by kind

    @property
    def verdict(self) -> str:
        """The worst of what was found, in few words, whether the job fails for it or not."""
        if set(self.counts) - {"near_duplicate", "label_conflict"}:
            return LEAKS
        if self.counts:
            return PERHAPS if "near_duplicate" in self.counts else CONFLICT
        if probes.list_shortcuts(self.probes):
            return SHORTCUT
        return IN_PART if self.not_looked_for else OK

    @property
    def unreadable(self) -> int:
        """Files of a catalog that could not be looked at."""
        return int(pc.sum(self.pictures["problem"].is_valid()).as_py() or 0)


def count_in_order(column: pa.ChunkedArray) -> dict[str, int]:
    """How often a column of splits or labels has each value, splits in their order."""
    counted = Counter("none" if value is None else str(value) for value in column.to_pylist())
    return dict(sorted(counted.items(), key=lambda item: rank_split(item[0])))


def result_as_json(result: LeakcheckResult, config: LeakcheckJobConfig) -> dict[str, Any]:
    """What ``leakcheck.json`` holds; the single findings are in table ``overlaps``."""
    uploads_known = None
    if (known := result.uploads) is not None:
        in_two = [
            {"upload": f.key, "clips": [f.video_a, f.video_b], "splits": [f.split_a, f.split_b]}
            for f in result.findings
            if f.scope == findings.OFFICIAL
        ]
        uploads_known = {
            "clips": len(known.of_clip), "uploads": known.count, "in_two_official_splits": in_two,
        }  # fmt: skip
    return {
        "verdict": result.verdict,
        "failing": result.failing,
        "warnings": result.warnings,
        "input": result.input.uri,
        "checked_as": result.input.kind,
        "videos": result.input.videos.num_rows,
        "pictures": result.pictures.num_rows,
        "unreadable": result.unreadable,
        "found": result.counts,
        "not_looked_for": result.not_looked_for,
        "uploads": uploads_known,
        "probes": [asdict(probe) for probe in result.probes],
        "config": config.leakcheck.model_dump(mode="json"),
        "config_sha256": hash_config(config),
    }


def describe_check(result: LeakcheckResult, config: LeakcheckJobConfig) -> dict[str, object]:
    """What the page says of what was checked, as label -> value."""
    options, known, loaded = config.leakcheck, result.uploads, result.input
    frames = np.array(result.pictures["thumbnail"].is_valid())
    return {
        "Data": loaded.uri,
        "Checked as": "crops of jobs/preprocess.py" if loaded.kind == "crops" else "files as listed",
        "Videos": ", ".join(f"{n:,} {s}" for s, n in count_in_order(loaded.videos["split"]).items()),
        "Pictures looked at": f"{len(frames):,}, of which {int((~frames).sum()):,} show nothing",
        "Files that could not be looked at": result.unreadable or None,
        "Near duplicates": f"at most {options.max_hash_distance} of 64 bits of the perceptual hash and "
        f"{options.max_pixel_difference} of 1 - correlation apart, mirrored or not",
        "Uploads": f"{len(known.of_clip):,} clips of {known.count:,} uploads" if known else None,
        "Fails on": ", ".join(options.fail_on) or "nothing",
    }
