"""Hashes of a configuration: what decides the rows of an output, and nothing else."""

import hashlib
import json
from typing import Any

from deepfake.config.jobs import JobConfig

# Raised by each change of frames, boxes or crops that are made under the same keys, so that rows of before
# and after do not mix. 1: before it was recorded. 2: pictures as a player shows them (orientation, square
# pixels), the smallest face by the short side. 3: high dynamic range as it is shown, joined recordings by
# part, the times of AVI, animations and pages. 4: crops are moved and made smaller before they are mirrored.
ROWS_VERSION = 4


def hash_json(value: Any) -> str:
    """Hash of a JSON-representable value, the same on every machine and in every process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# Keys that say where a file lies or how long to wait, not which rows come out.
_NOT_IN_HASH = {
    "detector": {"yunet_model"},
    "evaluation": {"heat_maps", "prevalence", "robustness", "robustness_crops", "robustness_videos"},
    "leakcheck": {"timeout_seconds"},
    "scoring": {"runtime", "batch_size", "use_gpu"},  # every row names the runtime that scored it
    "sampling": {"timeout_seconds", "isolate", "max_memory_mb", "long_video_mb", "piece_seconds"},
}


# Keys that came after outputs were made without them: left out where they are as then.
_LATER: dict[str, dict[str, Any]] = {
    "catalog": {"groups": []},
    "scoring": {"flip": False, "credentials": False, "trust_list": None},
}


def hash_config(config: JobConfig) -> str:
    """Hash of what decides which rows a job writes: ``ROWS_VERSION`` and sections of the configuration.

    Where or how fast the job runs is not in it.
    """
    sections = {}
    for name in config.row_sections:
        if (section := getattr(config, name)) is not None:
            dumped = section.model_dump(mode="json", exclude=_NOT_IN_HASH.get(name))
            later = _LATER.get(name, {})
            sections[name] = {k: v for k, v in dumped.items() if k not in later or v != later[k]}
    if not getattr(getattr(config, "report", None), "faces", True):  # the table evidence is empty
        sections["report"] = {"faces": False}
    if "scoring" not in config.row_sections and getattr(getattr(config, "scoring", None), "flip", False):
        sections["scoring"] = {"flip": True}
    return hash_json({"rows_version": ROWS_VERSION, **sections})
