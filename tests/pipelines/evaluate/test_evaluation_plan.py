"""What is decided and refused before an evaluation scores anything."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from deepfake.config import EvaluateJobConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model.bundle import MODEL_FILE, Bundle, BundleInfo, write_bundle
from deepfake.model.thresholds import TOP_K
from deepfake.pipelines.evaluate.evaluation_plan import (
    EvaluationPlan,
    describe_evaluation,
    look_up_decisions,
    plan_evaluation,
)
from tests.pipelines.evaluate.faces import crop, decisions_of_validation, two_classes, write

STORAGE = Storage()


def plan(uri: str, output: Path | str = "out", **keys: Any) -> EvaluationPlan:
    config = EvaluateJobConfig.model_validate({"input": uri, "output": str(output), **keys})
    return plan_evaluation(config, STORAGE)


def save_contract(uri: str, **info: Any) -> BundleInfo:
    """A bundle whose network nobody runs."""
    STORAGE.write_bytes(f"{uri}/{MODEL_FILE}", b"a network")
    digest = hashlib.sha256(b"a network").hexdigest()
    return write_bundle(uri, STORAGE, BundleInfo(model_sha256=digest, **{"threshold": 0.25, **info}))


@pytest.mark.parametrize("output", ["in", "in/../in", "in/face_scores", "."])
def test_an_output_that_would_replace_its_input_is_refused(tmp_path: Path, output: str) -> None:
    uri = write(tmp_path / "in" / "face_scores", "face_scores", two_classes())
    with pytest.raises(UsageError, match=r"would write over --input .*give another folder"):
        plan(uri, tmp_path / output)
    with pytest.raises(UsageError, match="would write over --also"):
        plan(uri, tmp_path / "other", also=[str(tmp_path / "other" / "scores")])


def test_crops_need_a_bundle_and_scores_none_to_score_them(tmp_path: Path) -> None:
    crops = write(tmp_path / "crops", "crops", [crop("r", 0, 0), crop("f", 0, 1)])
    with pytest.raises(UsageError, match="--bundle is required"):
        plan(crops)
    scores = write(tmp_path / "scores", "face_scores", two_classes())
    with pytest.raises(UsageError, match="heat_maps needs crops"):
        plan(scores, evaluation={"heat_maps": 3})


def test_scores_of_two_bundles_are_not_mixed_in_one_data_set_or_in_two(tmp_path: Path) -> None:
    rows, others = two_classes(), two_classes(bundle_sha256="00" * 32)
    mixed = write(tmp_path / "mixed", "face_scores", [*others[:1], *rows[1:]])
    with pytest.raises(UsageError, match="mixed: scores of 2 bundles are mixed"):
        plan(mixed)
    first = write(tmp_path / "first", "face_scores", rows)
    second = write(tmp_path / "second", "face_scores", others)
    with pytest.raises(UsageError, match=r"^scores of 2 bundles are mixed"):
        plan(first, also=[second])


def test_scores_of_another_bundle_than_the_one_given_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path / "scores", "face_scores", two_classes())
    save_contract(str(tmp_path / "bundle"))
    with pytest.raises(UsageError, match=r"these scores are of bundle abab.*leave --bundle out"):
        plan(uri, bundle=str(tmp_path / "bundle"))


def test_data_sets_of_one_name_are_told_apart_and_described(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "scores", "face_scores", two_classes(videos=3))
    second = write(tmp_path / "b" / "scores", "face_scores", two_classes())
    planned = plan(first, also=[second, second])
    assert [one.name for one in (planned.first, *planned.others)] == ["scores", "scores-2", "scores-3"]
    said = describe_evaluation(planned)
    assert (said["videos"], said["real_videos"], said["fake_videos"], said["faces"]) == (6, 3, 3, 18)
    assert said["also"]["scores-2"] == f"{second}, 24 faces"
    assert said["bundle"] == "none, the input holds scores"


def test_the_threshold_is_the_hands_before_the_bundles_before_a_half(tmp_path: Path) -> None:
    chosen = decisions_of_validation()
    uri = str(tmp_path / "bundle")
    save_contract(uri, operating_points={"mean": chosen.operating_points})
    digest = Bundle.load(uri, STORAGE).sha256
    scores = write(tmp_path / "scores", "face_scores", two_classes(bundle_sha256=digest))
    by_hand = plan(scores, bundle=uri, evaluation={"threshold": 0.75})
    assert (by_hand.threshold, by_hand.threshold_from) == (0.75, "given by hand")
    assert plan(scores, bundle=uri).threshold == chosen.operating_points[0].threshold
    assert plan(scores, bundle=uri, evaluation={"aggregation": "max"}).threshold == 0.25
    nobodys = plan(scores)
    assert (nobodys.threshold, nobodys.threshold_from) == (0.5, "by default, for no bundle was given")


def test_decisions_of_another_number_of_highest_faces_are_none(tmp_path: Path) -> None:
    uri = str(tmp_path / "bundle")
    save_contract(uri, operating_points={"top_k": decisions_of_validation().operating_points})
    bundle = Bundle.load(uri, STORAGE)

    def look_up(top_k: int) -> int:
        evaluation = {"aggregation": "top_k", "top_k": top_k}
        config = EvaluateJobConfig.model_validate({"input": "a", "output": "b", "evaluation": evaluation})
        found = look_up_decisions(bundle, config)
        assert found is not None and found.unproven
        return len(found.operating_points)

    assert (look_up(TOP_K), look_up(TOP_K + 1)) == (3, 0)
