"""The yield table, and boxes that real and fake share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deepfake.config import DetectorConfig, PreprocessJobConfig
from deepfake.crops import detection_rate
from deepfake.io import tables
from deepfake.pipelines.preprocess import pipeline


def _video(name: str, label: int | None, frames: int, with_face: int, status: str = "ok") -> dict[str, Any]:
    return {
        "video_id": name, "uri": name, "status": status, "label": label,
        "method": {0: "real", 1: "FaceSwap"}.get(label), "frames_sampled": frames,
        "frames_with_face": with_face, "faces": with_face,
    }  # fmt: skip


def test_each_class_and_method_is_counted_and_copies_are_not() -> None:
    rows = [
        _video("a", 0, 10, 10),
        _video("b", 0, 10, 8),
        _video("c", 1, 10, 5),
        _video("d", 1, 0, 0, "unreadable"),
        _video("e", 0, 10, 10, "skipped_duplicate"),
    ]
    fake, real = detection_rate.count_yield(tables.from_rows("videos", rows))
    assert (real["videos"], real["frames_sampled"], real["face_share"]) == (2, 20, 0.9)
    assert (fake["videos"], fake["failed"], fake["face_share"]) == (2, 1, 0.5)


@pytest.mark.parametrize(("fakes", "warned"), [(90, False), (88, False), (86, True), (94, True)])
def test_a_yield_that_differs_between_the_classes_by_more_than_three_points_is_warned_of(
    fakes: int, warned: bool
) -> None:
    rows = [_video("a", 0, 100, 90), _video("b", 1, 100, fakes)]
    found = detection_rate.count_yield(tables.from_rows("videos", rows))
    assert (detection_rate.explain_difference(found, "haar") is not None) == warned
    assert ("detector.name yunet" in (detection_rate.explain_difference(found, "haar") or "")) == warned
    assert "detector.name yunet" not in (detection_rate.explain_difference(found, "yunet") or "")


def test_a_line_says_which_detector_runs_and_what_it_costs() -> None:
    haar, yunet = (detection_rate.describe_detector(DetectorConfig(name=n)) for n in ("haar", "yunet"))
    assert "by haar" in haar and "--detector.name yunet" in haar
    assert "by yunet" in yunet and "haar" not in yunet


@pytest.mark.slow(7)
def test_fakes_can_take_the_boxes_of_their_originals(ffpp_small: Path, tmp_path: Path) -> None:
    config = {
        "input": str(ffpp_small),
        "output": str(tmp_path / "crops"),
        "catalog": {"splits_dir": str(ffpp_small / "splits")},
        "detector": {"name": "haar", "boxes": "from_original"},
    }
    pipeline.run(PreprocessJobConfig.model_validate(config))
    rows = pd.read_parquet(tmp_path / "crops")
    boxes = rows.assign(box=rows["box"].map(lambda box: tuple(box.values())))
    real = boxes[boxes["label"] == 0].set_index(["target_id", "frame_index"])["box"]
    fakes = boxes[boxes["label"] == 1]
    assert len(fakes) > 10
    assert all(
        box == real[target, frame]
        for target, frame, box in fakes[["target_id", "frame_index", "box"]].itertuples(index=False)
    )
    assert (tmp_path / "crops/_yield.csv").read_text().count("\n") >= 3
