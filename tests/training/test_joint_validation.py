"""Bundles that were validated on the same faces have thresholds together; others say why they have none."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from deepfake import metrics
from deepfake.config import EvaluateJobConfig
from deepfake.crops.reader import decode_crop
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model.bundle import MODEL_FILE, Bundle, BundleInfo, read_bundle_info, write_bundle
from deepfake.model.verdicts import explain_unproven
from deepfake.pipelines.evaluate import pipeline as evaluate
from deepfake.training import validation
from deepfake.training.joint_validation import load_bundles
from tests.small_bundle import save_untrained
from tests.stored_crops import write_crops

STORAGE = Storage()
PEOPLE = 24  # of each class


def make_faces() -> pa.Table:
    rows = [
        {"video_id": f"{label}/{person}.mp4", "frame_index": 30 * frame, "face_index": 0,
         "group_id": f"{label}-{person}", "label": label, "method": "real" if label == 0 else "x",
         "role": "both", "turned": False}
        for label in (0, 1) for person in range(PEOPLE) for frame in range(2)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows).cast(
        pa.schema({"video_id": pa.string(), "frame_index": pa.int32(), "face_index": pa.int16(),
                   "group_id": pa.string(), "label": pa.int8(), "method": pa.string(),
                   "role": pa.string(), "turned": pa.bool_()})
    )  # fmt: skip


def make_bundle(
    folder: Path, seed: int, faces: pa.Table | None = None, network: bool = False, **info: Any
) -> str:
    """A bundle as if its network had given these faces scores of some use, by a generator of this seed."""
    faces = make_faces() if faces is None else faces
    random = np.random.default_rng(seed)
    logits = random.normal(1.5 * (faces["label"].to_numpy() - 0.5) * seed)
    scored = faces.append_column("score", pa.array(1 / (1 + np.exp(-logits))))
    info = {"crops_config_sha256": "c" * 64, **validation.derive_bundle_fields(scored), **info}
    if network:
        save_untrained(str(folder), seed=seed, **info)
    else:
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(b"stands for the network")
        sha256 = hashlib.sha256(b"stands for the network").hexdigest()
        write_bundle(str(folder), STORAGE, BundleInfo(model_sha256=sha256, **info))
    shuffled = scored.take(pa.array(random.permutation(len(scored))))
    validation.write_scores(shuffled, str(folder), STORAGE, "0" * 64)
    return str(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pair")
    return [make_bundle(folder / name, seed) for seed, name in ((1, "first"), (2, "second"))]


def test_thresholds_are_of_the_mean_of_the_calibrated_scores_of_the_same_faces(pair: list[str]) -> None:
    found = load_bundles(pair, STORAGE)
    joined = pd.read_parquet(f"{pair[0]}/validation_scores.parquet").merge(
        pd.read_parquet(f"{pair[1]}/validation_scores.parquet"), on=["video_id", "frame_index"]
    )
    curves = [one.info.look_up_decisions("mean").calibration for one in found.members]
    mean = (curves[0](joined["score_x"].to_numpy()) + curves[1](joined["score_y"].to_numpy())) / 2  # type: ignore[misc]
    videos = joined.assign(score=mean).groupby("video_id").agg({"score": "mean", "label_x": "first"})
    labels, scores = videos["label_x"].to_numpy(), videos["score"].to_numpy()
    assert found.info.threshold == pytest.approx(metrics.choose_balanced_threshold(labels, scores))
    aucs = [one.info.metrics["val_video"]["auc"] for one in (found, *found.members)]
    assert aucs[0] == pytest.approx(metrics.measure_binary(labels, scores)["auc"])
    assert len(set(aucs)) == 3 and explain_unproven(found.info) == ""
    assert found.find_operating_point("fpr_0.01").real_videos == PEOPLE


def test_faces_that_chose_the_epoch_of_any_bundle_choose_no_threshold(tmp_path: Path) -> None:
    faces = make_faces()
    halves = [(faces["group_id"].to_pandas().str.endswith(f"{digit}")).to_numpy() for digit in (0, 1)]
    made = []
    for seed, half in enumerate(halves, 1):
        role = pa.array(np.where(half, validation.EPOCH, validation.THRESHOLDS))
        given = faces.set_column(faces.column_names.index("role"), "role", role)
        made.append(make_bundle(tmp_path / f"b{seed}", seed, given))
    found = load_bundles(made, STORAGE)
    left = int((~(halves[0] | halves[1])).sum()) // 2
    assert found.info.metrics["val_video"]["n"] == left < 2 * PEOPLE


@pytest.mark.parametrize("case", ["no scores", "other crops", "other faces", "faults"])
def test_without_validation_in_common_there_are_scores_and_no_verdicts(
    case: str, pair: list[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    more: dict[str, Any] = {"other crops": {"crops_config_sha256": "d" * 64}}.get(case, {})
    if case == "faults":
        more = {"training": {"faults": ["bgr"]}}
    make_bundle(other, 3, make_faces().slice(1) if case == "other faces" else None, **more)
    if case == "no scores":
        (other / "validation_scores.parquet").unlink()
    why = {
        "no scores": r"no validation_scores\.parquet lies beside other",
        "other crops": "on different crops",
        "other faces": "on different faces",
        "faults": "trained with known mistakes",
    }[case]
    info = load_bundles([pair[0], str(other)], STORAGE).info
    assert info.unproven is not None and pd.Series(info.unproven).str.contains(why).all()
    assert info.operating_points == {} and info.threshold == 0.5


def test_scores_that_are_not_the_bundles_are_refused(pair: list[str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(pair[1], other)
    shutil.copy(f"{pair[0]}/validation_scores.parquet", other)
    with pytest.raises(UsageError, match=r"validation_scores\.parquet: bundle\.json has other thresholds"):
        load_bundles([pair[0], str(other)], STORAGE)


def test_one_bundle_is_itself_and_none_counts_twice(
    pair: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_bundles(pair[:1], STORAGE).sha256 == Bundle.load(pair[0]).sha256
    with pytest.raises(UsageError, match="the same bundle is in it twice"):
        load_bundles([pair[0], pair[1], pair[0]], STORAGE)
    other = tmp_path / "other"
    shutil.copytree(pair[1], other)
    info = read_bundle_info(str(other), STORAGE)
    write_bundle(str(other), STORAGE, info.model_copy(update={"calibration": None, "operating_points": {}}))
    (other / "validation_scores.parquet").unlink()
    load_bundles([pair[0], str(other)], STORAGE)
    assert "other is not calibrated: its scores go into the mean as they are" in caplog.text


def test_an_ensemble_is_evaluated_and_what_each_says_is_kept(tmp_path: Path) -> None:
    crops = write_crops(tmp_path / "crops", (("test", 0, 2, 2), ("test", 1, 2, 2)))
    pair = [make_bundle(tmp_path / f"b{seed}", seed, network=True) for seed in (1, 2)]
    output = tmp_path / "evaluation"
    evaluate.run(EvaluateJobConfig(input=str(crops), bundle=pair, output=str(output)))
    measured = pd.read_parquet(output / "face_scores").set_index(["video_id", "frame_index"])
    stored = pd.read_parquet(crops).set_index(["video_id", "frame_index"]).loc[measured.index]
    seen = np.stack([decode_crop(data, 224) for data in stored["crop"]])
    ensemble = load_bundles(pair, STORAGE)
    own = np.stack([one.score(seen) for one in ensemble.members], axis=1)
    np.testing.assert_allclose(np.stack(measured["bundle_scores"].to_list()), own, atol=1e-6)
    np.testing.assert_allclose(measured["score"], ensemble.mixer(own), atol=1e-6)
    written = json.loads((output / "metrics.json").read_text())
    assert written["bundle_sha256"] == ensemble.sha256
    assert written["threshold"]["value"] == ensemble.info.threshold
