"""The stages of scoring on GPUs, one after the other, on the CPU."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import ray

from deepfake.execution.attempts import Attempt
from deepfake.execution.deadline import Deadline
from deepfake.execution.unit_worker import UNIT_ID, read_unit_id, unpack_units
from deepfake.faces.encoding import decode_image
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.network import INPUT_SIZE
from deepfake.pipelines.score import stages
from deepfake.pipelines.score.stages import Budgeted, ScoreOnGpu, cut_unit
from tests.small_bundle import save_untrained

CROPS = {"few": 2, "none": 0, "many": 5}  # of a unit, by its id


class Noise:
    """Crops of noise in place of a video's faces."""

    def prepare(self) -> None:
        """There is nothing to load."""

    def __call__(self, block: pa.Table, attempt: Attempt) -> dict[str, object]:
        name = read_unit_id(block)
        random = np.random.default_rng(CROPS[name])
        noise = random.integers(0, 256, (CROPS[name], INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
        crops = [cv2.imencode(".png", picture)[1].tobytes() for picture in noise]
        videos = pa.table({"video_id": [name]})
        return {UNIT_ID: name, "videos": videos, "crops": pa.table({"crop": pa.array(crops, pa.binary())})}


def _cut_units(deadline: Deadline | None = None, always: frozenset[str] = frozenset()) -> list[pa.Table]:
    budgeted = Budgeted(deadline, always)
    return [cut_unit(pa.table({UNIT_ID: [name]}), Noise(), budgeted) for name in CROPS]


def test_crops_too_many_to_hand_over_as_pixels_get_the_same_scores(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "MOST_PIXEL_BYTES", 3 * 224 * 224 * 3)
    save_untrained(str(tmp_path))
    bundle = Bundle.load(str(tmp_path))
    cut = pa.concat_tables(_cut_units())
    assert [len(value or b"") for value in cut[stages.PIXELS].to_pylist()] == [2 * 224 * 224 * 3, 0, 0]
    assert cut[stages.PIXELS].null_count == 1
    reference = ray.put(inference.Network("tensorflow", bundle))
    scored = unpack_units(ScoreOnGpu(ray.cloudpickle.dumps(reference))(cut))
    assert [unit[UNIT_ID] for unit in scored] == list(CROPS)
    for unit in scored:
        crops = [decode_image(data) for data in unit["crops"]["crop"].to_pylist()]
        expected = bundle.score(np.stack(crops)) if crops else np.empty(0)
        np.testing.assert_allclose(unit[stages.SCORES], expected, atol=1e-6)


def test_past_the_deadline_only_the_units_that_are_always_done_are_begun(ray_session: None) -> None:
    late = _cut_units(Deadline(0), frozenset(["many"]))
    begun = {name: block.num_rows for name, block in zip(CROPS, late, strict=True)}
    assert begun == {"few": 0, "none": 0, "many": 1}
    assert [block.num_rows for block in _cut_units(Deadline(600))] == [1, 1, 1]
