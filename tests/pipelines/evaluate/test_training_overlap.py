"""A model is not measured on people it was trained on."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from deepfake.config import CropConfig, DetectorConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.model.bundle import BundleInfo
from deepfake.pipelines.evaluate import training_overlap
from tests.pipelines.evaluate.faces import scored
from tests.rows import video_row


def info(**training: Any) -> BundleInfo:
    return BundleInfo(
        model_sha256="00",
        threshold=0.5,
        training=training,
        crop=CropConfig(margin=0.3),
        detector=DetectorConfig(name="haar"),
    )


def table(*rows: tuple[str, str | None]) -> pa.Table:
    """Rows of (identity, split)."""
    return tables.from_rows(
        "face_scores",
        [scored(f"{i}.mp4", 0, 0, 0.5, target_id=who, split=split) for i, (who, split) in enumerate(rows)],
    )


def check(rows: pa.Table, bundle: BundleInfo | None, split: str = "test", allowed: bool = False) -> list[str]:
    chosen = rows.filter(pc.equal(rows["split"], split))
    return training_overlap.check_training_overlap(chosen, bundle, rows, split, allowed)


def test_identities_that_the_bundle_was_trained_on_stop_the_job_and_are_named() -> None:
    bundle = info(identities={"train": ["ann", "bob"], "val": ["eve"]})
    with pytest.raises(UsageError, match=r"split train; 1 of 2 identities, by the bundle: bob"):
        check(table(("bob", "test"), ("cay", "test")), bundle)


def test_the_inputs_own_splits_say_nothing_of_a_detector_that_was_made_elsewhere() -> None:
    shared = table(("bob", "train"), ("bob", "test"))
    with pytest.raises(UsageError, match="by the input's own splits"):
        check(shared, info())
    unknown = info().model_copy(update={"adopted": {"file": "theirs.onnx"}})
    calibrated = info(identities={"val": ["eve"]}).model_copy(update={"adopted": {"file": "theirs.onnx"}})
    for bundle in (unknown, calibrated):
        (warning,) = check(shared, bundle)
        assert "could not be checked" in warning
    known = info(identities={"train": ["ann"]}).model_copy(update={"adopted": {"file": "theirs.onnx"}})
    assert check(shared, known) == []


def test_they_are_a_warning_where_that_is_allowed() -> None:
    bundle = info(identities={"train": ["bob"]})
    (warning,) = check(table(("bob", "test")), bundle, allowed=True)
    assert "used in training" in warning


def test_the_source_of_a_fake_counts_as_its_target_does() -> None:
    rows = tables.from_rows("face_scores", [scored("f", 0, 1, 0.5, target_id="cay", source_id="bob")])
    with pytest.raises(UsageError, match="bob"):
        check(rows, info(identities={"train": ["bob"]}))


def test_new_identities_need_no_word() -> None:
    assert check(table(("cay", "test")), info(identities={"train": ["bob"], "val": ["eve"]})) == []


def test_measuring_on_validation_is_allowed_and_said() -> None:
    bundle = info(identities={"train": ["bob"], "val": ["eve"]})
    (warning,) = check(table(("eve", "val")), bundle, split="val")
    assert "choose the model" in warning


def test_the_validation_split_is_the_one_that_training_used_under_whatever_name() -> None:
    recorded = {"training": {"train_split": "a", "val_split": "b"}}
    bundle = info(identities={"a": ["bob"], "b": ["eve"]}, config=recorded)
    (warning,) = check(table(("eve", "b")), bundle, split="b")
    assert "choose the model" in warning
    with pytest.raises(UsageError, match="split a"):
        check(table(("bob", "a")), bundle, split="a")


@pytest.mark.parametrize("bundle", [info(), None], ids=["bundle names nothing", "no bundle"])
def test_without_a_record_the_inputs_own_splits_stand_in(bundle: BundleInfo | None) -> None:
    with pytest.raises(UsageError, match="bob"):
        check(table(("bob", "test"), ("bob", "train")), bundle)
    assert check(table(("bob", "test"), ("ann", "train")), bundle) == []


def test_where_nothing_is_known_that_is_said() -> None:
    (warning,) = check(table(("bob", "test")), None)
    assert "could not be checked" in warning


def test_crops_cut_otherwise_than_in_training_are_named() -> None:
    config = {"crop": CropConfig(margin=0.5).model_dump(mode="json"), "detector": {"name": "yunet"}}
    (warning,) = training_overlap.list_crop_differences(info(), config)
    assert "crop.margin 0.5 here, 0.3 in training" in warning
    assert "detector yunet here, haar in training" in warning


def test_crops_cut_alike_need_no_word_though_an_unused_quality_differs() -> None:
    crop = CropConfig(margin=0.3, jpeg_quality=10).model_dump(mode="json")
    assert training_overlap.list_crop_differences(info(), {"crop": crop, "detector": {"name": "haar"}}) == []


def manifest(*rows: tuple[str, str, str]) -> pa.Table:
    """Rows of (video, content, split)."""
    return tables.from_rows(
        "videos", [video_row(name, content_sha256=content, split=split) for name, content, split in rows]
    )


def copies(
    videos: pa.Table, bundle: BundleInfo | None, split: str = "test", allowed: bool = False
) -> list[str]:
    faces = table(("ann", "train"), ("bob", "val"), ("cay", "test"))
    return training_overlap.require_no_training_copies(videos, bundle, faces, split, allowed)


def test_a_copy_of_a_training_video_stops_the_evaluation_unless_it_is_allowed() -> None:
    videos = manifest(("a", "aa", "train"), ("b", "aa", "test"))
    with pytest.raises(UsageError, match=r"a \(train\) and b \(test\)[^?]*--evaluation.allow_overlap true"):
        copies(videos, info(identities={"train": ["ann"], "val": ["bob"]}))
    with pytest.raises(UsageError, match="train and test"):
        copies(videos, None)
    assert copies(videos, None, allowed=True) == [
        "Videos of this split are copies of videos used in training (split train)."
    ]


def test_copies_between_other_splits_than_those_measured_do_not_matter() -> None:
    videos = manifest(("a", "aa", "train"), ("b", "aa", "val"), ("c", "cc", "test"))
    assert copies(videos, info(identities={"train": ["ann"], "val": ["bob"]})) == []
    with pytest.raises(UsageError, match="train and val"):
        copies(videos, None, split="val")


def test_copies_in_data_that_the_bundle_was_not_trained_on_do_not_matter() -> None:
    videos = manifest(("a", "aa", "train"), ("b", "aa", "test"))
    assert copies(videos, info(identities={"train": ["eve"], "val": ["fay"]})) == []
