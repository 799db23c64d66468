"""Single stages of preprocessing, as the benchmark times them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig, StorageConfig
from deepfake.crops.extraction import ExtractConfig
from deepfake.pipelines.benchmark.baselines import Tally
from deepfake.pipelines.benchmark.stages import decode_clip, extract_clip
from tests.clips import write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_clip(tmp_path_factory.mktemp("clips") / "a.mp4", frames=31))


def test_decoding_counts_the_frames_that_the_sampling_keeps(clip: str) -> None:
    assert decode_clip(clip, SamplingConfig(every_n=10)) == Tally(4)


def test_extraction_tells_what_came_out_and_where_the_time_went(clip: str) -> None:
    config = ExtractConfig(SamplingConfig(every_n=10), DetectorConfig(name="haar"), CropConfig())
    tally, detect, crop = extract_clip(clip, config, StorageConfig())
    assert tally == Tally(4)  # a clip that shows nobody
    assert detect > 0 and crop >= 0


def test_a_process_that_runs_them_starts_without_ray() -> None:
    words = "import sys; import deepfake.pipelines.benchmark.stages; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
