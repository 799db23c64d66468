"""A clip that every program which works can decode."""

from __future__ import annotations

import sys

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops import canary
from deepfake.crops.extraction import ExtractConfig
from deepfake.io.storage import Storage

CONFIG = ExtractConfig(SamplingConfig(), DetectorConfig(name="haar"), CropConfig())


def test_a_program_that_works_decodes_it() -> None:
    assert canary.explain_failure(CONFIG, Storage()) is None


def test_where_no_video_can_be_opened_it_is_said_why() -> None:
    child = "from deepfake.crops import sandbox_server as s; s.serve({'extract': lambda *_: {}['options']})"
    found = canary.explain_failure(CONFIG, Storage(), (sys.executable, "-c", child))
    assert found is not None and found.startswith("a fault of this program: KeyError: 'options' (")
