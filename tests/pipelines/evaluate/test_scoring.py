"""Stored crops are scored in the order of their rows, once for each change made to them."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from deepfake.config import EvaluateJobConfig
from deepfake.crops.corruptions import NONE, Corruption
from deepfake.errors import JobError
from deepfake.execution import session
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.model.inference import Network
from deepfake.pipelines.evaluate.inputs import LabelledFaces, load_faces
from deepfake.pipelines.evaluate.scoring import estimate_core_seconds, score_faces
from tests.pipelines.evaluate.faces import write
from tests.rows import crop_row

CONFIG = EvaluateJobConfig(input="crops", output="out", bundle="model")


class Brightness:
    """Scores a crop by its mean grey level, in place of a network."""

    bundle = SimpleNamespace(crop_size=224)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def start_scorer(self, threads: int | None) -> Brightness:
        return self

    def score(self, crops: np.ndarray) -> np.ndarray:
        self.batches.append(len(crops))
        return crops.mean(axis=(1, 2, 3)) / 255


def load(folder: Path, greys: list[int], **values: Any) -> LabelledFaces:
    """Crops of these grey levels, the rows dealt out to two files, read as an evaluation reads them."""
    rows = [
        crop_row(f"{i // 4}.mp4", i % 4, grey, split="test", label=i // 4 % 2, **values)
        for i, grey in enumerate(greys)
    ]
    return load_faces(write(folder, "crops", rows[::2], rows[1::2]), Storage())


def score(faces: LabelledFaces, network: Any, *changes: Corruption) -> np.ndarray:
    return score_faces(faces, cast(Network, network), Storage(), CONFIG, changes or (NONE,))


def test_each_score_is_of_its_own_crop_whatever_file_it_lies_in(tmp_path: Path) -> None:
    greys = [int(grey) for grey in np.random.default_rng(0).integers(0, 256, 23)]
    (scores,) = score(load(tmp_path, greys), Brightness())
    np.testing.assert_allclose(scores, np.array(greys) / 255)


def test_a_crop_is_scored_once_for_each_change_to_it(tmp_path: Path) -> None:
    faces = load(tmp_path, [10, 200, 90])
    noisy = Corruption("noise, sigma", 16)
    plain, changed = score(faces, Brightness(), NONE, noisy)
    np.testing.assert_allclose(plain, np.array([10, 200, 90]) / 255)
    assert (changed != plain).all() and np.abs(changed - plain).max() < 0.1
    np.testing.assert_array_equal(score(faces, Brightness(), noisy)[0], changed)


def test_only_a_window_of_crops_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "workers_exist", lambda: False)  # another test may have started some
    network = Brightness()
    score(load(tmp_path, [50] * 300), network)
    assert sum(network.batches) == 300 and len(network.batches) > 1


def test_a_crop_of_another_size_is_an_error_that_names_its_place(tmp_path: Path) -> None:
    small = crop_row("a.mp4")["crop"][:20]
    with pytest.raises(TableError, match=r"part-00000\.parquet, row group 0, row 0: the stored crop"):
        score(load(tmp_path, [10], crop=small), Brightness())


def test_a_score_that_is_missing_ends_the_job(tmp_path: Path) -> None:
    class Broken(Brightness):
        def score(self, crops: np.ndarray) -> np.ndarray:
            return np.where(super().score(crops) > 0.5, np.nan, 0.5)

    with pytest.raises(JobError, match="1 of 3 faces came back without a score"):
        score(load(tmp_path, [10, 200, 90]), Broken())


def test_the_estimate_counts_the_sweep_and_leaves_gpus_to_workers() -> None:
    plain = estimate_core_seconds(1000, CONFIG)
    swept = CONFIG.model_copy(
        update={"evaluation": CONFIG.evaluation.model_copy(update={"robustness": True})}
    )
    assert 1 < plain < estimate_core_seconds(1000, swept)
    on_gpu = CONFIG.model_copy(update={"scoring": CONFIG.scoring.model_copy(update={"use_gpu": True})})
    assert estimate_core_seconds(1, on_gpu) == math.inf
