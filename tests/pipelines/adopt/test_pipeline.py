"""A detector that was made elsewhere becomes a bundle that the other jobs take, or a sentence why not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepfake.config import (
    AdoptJobConfig,
    EvaluateJobConfig,
    ExportJobConfig,
    ModelConfig,
    ScoreJobConfig,
)
from deepfake.crops.reader import decode_crop
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import foreign, inference, keras_runtime
from deepfake.model.bundle import GRAPH_FILE, Bundle, serialise_network
from deepfake.model.initialisation import read_starting_bundle
from deepfake.model.verdicts import explain_unproven
from deepfake.pipelines.adopt import pipeline
from deepfake.pipelines.evaluate import pipeline as evaluate
from deepfake.pipelines.export import pipeline as export
from deepfake.pipelines.score import pipeline as score
from tests.benchmarks import mesonet
from tests.model.test_foreign import make_keras, make_onnx, show
from tests.stored_crops import write_crops

WAY: dict[str, Any] = {"values": "unit", "fake": 1}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-five people of each class in val, two in train, two in test."""
    splits = (
        ("val", 0, 25, 1),
        ("val", 1, 25, 1),
        *((s, c, 2, 2) for s in ("train", "test") for c in (0, 1)),
    )
    return write_crops(tmp_path_factory.mktemp("adopt") / "crops", tuple(splits))


def make_file(folder: Path, kind: str) -> Path:
    """A detector's file that answers otherwise to reddish crops, which are the fakes, than to bluish ones."""
    path = folder / f"theirs.{kind}"
    if kind == "keras":
        make_keras(64, 1, WAY).save(path)
    else:
        path.write_bytes(make_onnx("NCHW", 1, WAY, side=64).SerializeToString())
    return path


def adopt(path: Path, output: Path, **more: Any) -> AdoptJobConfig:
    return AdoptJobConfig.model_validate({"input": str(path), "output": str(output), "foreign": WAY, **more})


@pytest.mark.parametrize("kind", ["keras", "onnx"])
def test_it_is_calibrated_like_a_trained_one_and_evaluated(kind: str, crops: Path, tmp_path: Path) -> None:
    path, output = make_file(tmp_path, kind), tmp_path / "bundle"
    done = pipeline.run(adopt(path, output, calibrate=str(crops), known=None))
    bundle = Bundle.load(str(output))
    info = bundle.info
    assert info.crop is not None and info.crop.margin == 0.25  # as the crops say
    assert info.detector is not None and info.detector.name == "haar"
    assert info.adopted is not None and info.adopted["file"] == path.name
    assert len(info.read_identities()["val"]) == 50
    assert info.validated_on is not None
    assert (info.validated_on.real_videos, info.validated_on.fake_videos) == (25, 25)

    found = pd.read_parquet(output / "validation_scores.parquet").set_index("video_id")
    stored = pd.read_parquet(crops).query("split == 'val'").set_index("video_id").loc[found.index]
    seen = np.stack([decode_crop(data, 224) for data in stored["crop"]])
    np.testing.assert_allclose(found["score"], bundle.score(seen), atol=1e-6)
    points = {point.name: point for point in info.operating_points["mean"]}
    called = found["score"] >= points["balanced"].threshold
    assert points["balanced"].fpr == called[stored["label"] == 0].mean()
    assert points["balanced"].tpr == called[stored["label"] == 1].mean()
    assert bool(explain_unproven(info)) == (info.metrics["val_video"]["intervals"]["auc"][0] <= 0.5)
    assert done.summary["val_video_auc"] == info.metrics["val_video"]["auc"]
    card = (output / "model_card.md").read_text()
    assert f"made elsewhere: `{path.name}`" in card and "licence: **not known**" in card

    evaluate.run(EvaluateJobConfig(input=str(crops), bundle=str(output), output=str(tmp_path / "evaluation")))
    measured = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())
    assert measured["bundle_sha256"] == bundle.sha256
    with pytest.raises(UsageError, match=r"heat_maps: a network that was made elsewhere has none"):
        evaluate.run(
            EvaluateJobConfig.model_validate(
                {
                    "input": str(crops),
                    "bundle": str(output),
                    "output": str(tmp_path / "heat"),
                    "evaluation": {"heat_maps": 2},
                }
            )
        )


@pytest.mark.parametrize("fake", [0, 1])
def test_scores_on_the_wrong_side_of_a_half_are_spoken_of(
    fake: int, crops: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_file(tmp_path, "keras")
    foreign = {**WAY, "fake": fake}
    done = pipeline.run(adopt(path, tmp_path / "bundle", calibrate=str(crops), foreign=foreign))
    words = f"--foreign.fake {fake} may be the wrong way round"
    assert (words in caplog.text) == (done.summary["val_video_auc"] < 0.5)


def test_people_whom_it_was_trained_on_say_nothing(crops: Path, tmp_path: Path) -> None:
    path, output = make_file(tmp_path, "onnx"), tmp_path / "bundle"
    with pytest.raises(UsageError, match=r"50 people of split 'val' are in .*which the detector was trained"):
        pipeline.run(adopt(path, output, calibrate=str(crops), known=str(crops)))
    assert not output.exists()
    pipeline.run(adopt(path, output, known=str(crops)))
    with pytest.raises(UsageError, match="split 'test' shares identities with training"):
        evaluate.run(EvaluateJobConfig(input=str(crops), bundle=str(output), output=str(tmp_path / "e")))


def test_it_takes_crops_of_the_size_that_it_was_calibrated_on(tmp_path: Path) -> None:
    small, output = write_crops(tmp_path / "crops", size=64), tmp_path / "bundle"
    path = make_file(tmp_path, "keras")
    pipeline.run(adopt(path, output, calibrate=str(small)))
    bundle = Bundle.load(str(output))
    assert bundle.crop_size == 64 and bundle.info.crop is not None and bundle.info.crop.size == 64
    seen = np.stack([decode_crop(data, 64) for data in pd.read_parquet(small)["crop"]])
    theirs = keras_runtime.start_keras().models.load_model(path)
    own = theirs(seen.astype(np.float32) / 255, training=False).numpy()[:, 0]  # which are not resized
    np.testing.assert_allclose(bundle.score(seen), own, atol=1e-5)
    pipeline.run(adopt(path, tmp_path / "told", crop={"size": 64}))
    np.testing.assert_allclose(Bundle.load(str(tmp_path / "told")).score(seen), own, atol=1e-5)
    with pytest.raises(UsageError, match="made with another section crop"):
        pipeline.run(adopt(path, tmp_path / "other", calibrate=str(small), crop={"size": 96}))


def test_a_list_of_files_or_some_splits_say_whom_it_was_trained_on(crops: Path, tmp_path: Path) -> None:
    path = make_file(tmp_path, "keras")
    of_train = {"known": str(crops), "known_splits": ["train"]}
    pipeline.run(adopt(path, tmp_path / "bundle", calibrate=str(crops), **of_train))
    info = Bundle.load(str(tmp_path / "bundle")).info
    assert info.names_trained_people and len(info.read_identities()["train"]) == 4
    job = {
        "input": str(crops),
        "output": str(tmp_path / "e"),
        "evaluation": {"split": "test", "bootstrap": 0},
    }
    found = evaluate.run(EvaluateJobConfig.model_validate({**job, "bundle": str(tmp_path / "bundle")}))
    assert not any("checked" in warning for warning in found.summary["warnings"])
    with pytest.raises(UsageError, match=r"has no split dev .*its splits are test, train, val"):
        pipeline.run(adopt(path, tmp_path / "other", known=str(crops), known_splits=["dev"]))

    (tmp_path / "theirs.csv").write_text(
        "uri,label,target_id,split\n/x/a.mp4,real,test-real-0,train\n/x/b.mp4,fake,someone,\n"
    )
    pipeline.run(adopt(path, tmp_path / "listed", known=str(tmp_path / "theirs.csv")))
    with pytest.raises(UsageError, match="1 of 4 identities, by the bundle: test-real-0"):
        evaluate.run(EvaluateJobConfig.model_validate({**job, "bundle": str(tmp_path / "listed")}))
    pipeline.run(adopt(path, tmp_path / "silent", calibrate=str(crops)))
    both = [str(tmp_path / name) for name in ("bundle", "silent")]
    found = evaluate.run(EvaluateJobConfig.model_validate({**job, "bundle": both}))
    words = "It could not be checked whether silent was trained on the same people."
    assert words in found.summary["warnings"]


def test_a_graph_scores_an_archive_and_says_what_it_cannot_do(ffpp_small: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    pipeline.run(adopt(make_file(tmp_path, "onnx"), output, detector={"name": "haar"}, crop={"margin": 0.3}))
    bundle = Bundle.load(str(output))
    assert bundle.info.model_file == GRAPH_FILE and explain_unproven(bundle.info)
    network = pickle.loads(pickle.dumps(inference.prepare_network(bundle, Storage())))
    seen = np.zeros((2, 224, 224, 3), np.uint8)
    np.testing.assert_array_equal(network.start_scorer(threads=1).score(seen), bundle.score(seen))

    clips = ffpp_small / "original_sequences/youtube/c23/videos"
    config = {"input": str(clips), "bundle": str(output), "output": str(tmp_path / "scores"), "limit": 1}
    score.run(ScoreJobConfig.model_validate({**config, "report": {"pages": 1}}))
    (video,) = pd.read_parquet(tmp_path / "scores" / "video_scores").to_dict("records")
    assert video["status"] == "ok" and video["verdict"] == "uncertain"
    (page,) = (tmp_path / "scores" / "video_pages").glob("*.html")
    assert "There are no heat maps" in page.read_text()

    for runtime in ({"use_gpu": True}, {"wanted": "tensorflow"}):
        with pytest.raises(UsageError, match="scores on CPUs, by OpenVINO"):
            inference.prepare_network(bundle, Storage(), **runtime)
    with pytest.raises(UsageError, match="cannot be exported, trained on or looked into"):
        export.run(ExportJobConfig(bundle=str(output), format="litert"))
    with pytest.raises(UsageError, match="was made elsewhere, not trained here"):
        read_starting_bundle(ModelConfig(weights=str(output)), Storage())


def test_what_cannot_be_adopted_is_refused_before_anything_is_written(crops: Path, tmp_path: Path) -> None:
    path, output = make_file(tmp_path, "onnx"), tmp_path / "bundle"
    for name, words in (
        ("theirs.h5", r"expected a file \*\.onnx or \*\.keras"),
        ("none.onnx", "no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            pipeline.run(adopt(tmp_path / name, output))
    with pytest.raises(UsageError, match="another section crop than the keys here say"):
        pipeline.run(adopt(path, output, calibrate=str(crops), crop={"margin": 0.1}))
    with pytest.raises(UsageError, match=r"does not tell --foreign\.values and --foreign\.fake"):
        pipeline.run(AdoptJobConfig(input=str(path), output=str(output)))
    assert not output.exists()
    pipeline.run(adopt(path, output))
    with pytest.raises(UsageError, match="holds a bundle; give another --output"):
        pipeline.run(adopt(path, output))


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "way"),
    [
        ("mesonet/Meso4_DF.h5", {"values": "unit", "fake": 0}),
        ("fakeVideoForensics_meso/meso_c23_all.h5", {"values": "signed", "fake": 1}),
    ],
)
def test_published_detectors_of_two_families_give_their_own_answers(
    file: str, way: dict[str, Any], data: Path, crops: Path
) -> None:
    theirs = mesonet.build(data / "models" / file)
    ours = foreign.wrap_keras(
        serialise_network(theirs), file, foreign.ForeignConfig(**way), 224, megabytes=64
    )
    seen = np.stack([decode_crop(data, 224) for data in pd.read_parquet(crops)["crop"][:8]])
    answers = theirs(show(seen, mesonet.SIDE, way)).numpy()[:, 0]
    expected = answers if way["fake"] else 1 - answers
    np.testing.assert_allclose(ours(seen).numpy()[:, 0], expected, atol=1e-5)
