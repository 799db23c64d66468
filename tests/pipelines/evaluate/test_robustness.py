"""The sweep of worse crops, with scores made up: no network, no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake.config import EvaluationConfig
from deepfake.crops.corruptions import CORRUPTIONS, Corruption
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import inputs, robustness
from tests.pipelines.evaluate.faces import scored, two_classes, write

CONFIG = EvaluationConfig(bootstrap=50, robustness_crops=40)


@pytest.fixture
def faces(tmp_path: Path) -> inputs.LabelledFaces:
    rows = [*two_classes(videos=5, frames=12), scored("real-short.mp4", 0, 0, 0.3)]
    return inputs.load_faces(write(tmp_path, "face_scores", rows), Storage())


def test_the_crops_taken_are_few_spread_and_of_as_many_videos_of_each_class(
    faces: inputs.LabelledFaces,
) -> None:
    table = robustness.choose_balanced_crops(faces, 40).table
    assert 0 < table.num_rows <= 40
    videos = table.group_by(["video_id", "label"]).aggregate([("frame_index", "count")]).to_pylist()
    assert sum(row["label"] for row in videos) * 2 == len(videos)
    assert max(row["frame_index_count"] for row in videos) == 8
    frames = table.filter(np.asarray(table["video_id"]) == videos[0]["video_id"])["frame_index"].to_pylist()
    assert frames[0] < 60 and frames[-1] > 270  # of 0, 30, ..., 330
    assert robustness.choose_balanced_crops(faces, 40).table == table


def test_a_change_that_blinds_the_model_shows_in_its_row(faces: inputs.LabelledFaces) -> None:
    def score(some: inputs.LabelledFaces, changes: Sequence[Corruption]) -> np.ndarray:
        kept = some.table["score"].to_numpy()
        return np.stack([np.full(len(kept), 0.5) if c.kind.startswith("blur") else kept for c in changes])

    rows = robustness.measure_robustness(faces, score, CONFIG)
    assert [(row["kind"], row["amount"]) for row in rows] == [(c.kind, c.amount) for c in CORRUPTIONS]
    by_kind = {row["kind"]: row for row in rows}
    assert by_kind["none"]["auc"] > 0.8
    assert by_kind["JPEG quality"]["auc"] == by_kind["none"]["auc"]
    assert by_kind["blur, sigma"]["auc"] == 0.5
    assert by_kind["none"]["crops"] <= CONFIG.robustness_crops


def test_fewer_frames_are_taken_from_all_over_each_video_and_all_of_them_are_the_whole() -> None:
    rows = two_classes(videos=4, frames=10)
    table = tables.from_rows("face_scores", rows).sort_by([("video_id", "ascending")])
    found = robustness.measure_fewer_frames(table, CONFIG)
    assert [row["amount"] for row in found] == [1, 2, 4, 8, 10]
    assert [row["crops"] for row in found] == [8, 16, 32, 64, 80]
    whole = robustness.make_robustness_row(table, table["score"].to_numpy(), "x", 0, CONFIG)
    assert found[-1]["auc"] == whole["auc"]


def test_an_input_without_crops_to_take_has_no_rows(faces: inputs.LabelledFaces) -> None:
    none = replace(faces, table=faces.table.slice(0, 0))
    assert robustness.measure_robustness(none, lambda *_: np.empty(0), CONFIG) == []
