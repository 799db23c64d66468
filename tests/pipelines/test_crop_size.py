"""Crops of another size than the usual: each job takes the size that the bundle says, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deepfake.config import EvaluateJobConfig, ExportJobConfig, ScoreJobConfig, TrainJobConfig
from deepfake.errors import UsageError
from deepfake.model.bundle import Bundle
from deepfake.model.inference import TOLERANCE
from deepfake.pipelines.evaluate import pipeline as evaluate
from deepfake.pipelines.export import pipeline as export
from deepfake.pipelines.score import pipeline as score
from deepfake.pipelines.train import pipeline as train
from tests import running
from tests.small_bundle import save_untrained

SIZE = 96
KEY = ["video_id", "frame_index", "face_index"]


def run(job: str, cwd: Path, *words: object) -> str:
    return running.run(running.command(job, *words, "--ray.start", "never"), cwd)


@pytest.fixture(scope="module")
def made(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``crops`` of 96 pixels, and the ``bundle`` of a network that was trained on them."""
    folder = tmp_path_factory.mktemp("small")
    haar = ("--detector.name", "haar", "--crop.size", SIZE)
    run("preprocess", folder, "--input", ffpp_small, "--output", "crops", *haar)
    small = ("--model.backbone", "meso4", "--model.weights", "none")
    recipe = ("--training.epochs", 2, "--training.freeze_batch_norm", "false")
    run("train", folder, "--input", "crops", "--output", "bundle", *small, *recipe)
    return folder


def read_faces(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "face_scores").sort_values(KEY).reset_index(drop=True)


@pytest.mark.slow(60)
def test_a_network_of_small_crops_goes_through_every_job(made: Path, ffpp_small: Path) -> None:
    bundle = Bundle.load(str(made / "bundle"))
    assert bundle.crop_size == SIZE and bundle.network.input_shape == (None, SIZE, SIZE, 3)
    assert "face crops, 96 x 96, RGB" in (made / "bundle" / "model_card.md").read_text()
    for given, output in ((ffpp_small, "scores"), ("crops", "of_crops")):
        run("score", made, "--input", given, "--bundle", "bundle", "--output", output)
    whole = ("--evaluation.split", "all", "--evaluation.allow_overlap", "true", "--evaluation.heat_maps", 2)
    run("evaluate", made, "--input", "crops", "--bundle", "bundle", "--output", "evaluation", *whole)
    scored, again, by_keras = (read_faces(made / name) for name in ("scores", "of_crops", "evaluation"))
    assert len(scored) > 20 and scored[KEY].equals(by_keras[KEY])
    np.testing.assert_allclose(again["score"], scored["score"], atol=1e-6)
    np.testing.assert_allclose(by_keras["score"], scored["score"], atol=TOLERANCE)
    run("export", made, "--bundle", "bundle", "--format", "openvino", "--input", "crops", "--crops", 8)
    facts = json.loads((made / "bundle" / "export" / "openvino" / "export.json").read_text())
    assert "(n, 96, 96, 3)" in facts["takes"] and facts["largest_difference"] < TOLERANCE
    clip = next(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    watched = ("--watch.every_frame", "true", "--output", "watched")
    running.run(running.command("watch", "--input", clip, "--bundle", "bundle", *watched), made)
    faces = [
        face for line in (made / "watched" / "frames.jsonl").open() for face in json.loads(line)["faces"]
    ]
    assert faces and all(0 <= face["score"] <= 1 for face in faces)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of crops of 224 pixels."""
    folder = str(tmp_path_factory.mktemp("bundles") / "usual")
    save_untrained(folder)
    return folder


@pytest.mark.parametrize("job", ["score crops", "score videos", "evaluate", "against", "export"])
def test_crops_of_another_size_are_refused_in_one_sentence(
    job: str, made: Path, usual: str, ffpp_small: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"input": str(made / "crops"), "bundle": usual, "output": str(tmp_path / "out")}
    measured = common | {"evaluation": {"split": "val"}}
    words = r"are 96 pixels wide, the network of \S+ takes 224; run jobs/preprocess\.py with --crop.size 224$"
    with pytest.raises(UsageError, match=words):
        if job == "export":
            export.run(ExportJobConfig.model_validate(common))
        elif job == "evaluate":
            evaluate.run(EvaluateJobConfig.model_validate(measured))
        elif job == "against":
            other = {"bundle": str(made / "bundle"), "against": usual}
            evaluate.run(EvaluateJobConfig.model_validate(measured | other))
        else:
            more = {} if job == "score crops" else {"input": str(ffpp_small), "crop": {"size": 96}}
            score.run(ScoreJobConfig.model_validate(common | more))


def test_another_key_of_crops_leaves_the_bundles_size(made: Path, ffpp_small: Path, tmp_path: Path) -> None:
    config = ScoreJobConfig.model_validate(
        {"input": str(ffpp_small), "output": str(tmp_path), "bundle": "b", "crop": {"margin": 0.3}}
    )
    bundle = Bundle.load(str(made / "bundle"))
    found = score.resolve_config(config, bundle, score.Storage()).crop
    assert found is not None and (found.size, found.margin) == (SIZE, 0.3)


def test_networks_of_two_sizes_are_no_ensemble_and_none_starts_from_the_other(
    made: Path, usual: str, small_crops: Path, tmp_path: Path
) -> None:
    both: dict[str, Any] = {"bundle": [str(made / "bundle"), usual], "input": "x"}
    with pytest.raises(UsageError, match="usual takes crops of 224 pixels, bundle of 96: one crop"):
        score.run(ScoreJobConfig.model_validate(both | {"output": str(tmp_path / "out")}))
    model = {"backbone": "meso4", "weights": str(made / "bundle")}
    job = {"input": str(small_crops), "output": str(tmp_path / "out"), "model": model}
    with pytest.raises(UsageError, match=r"takes crops of 96 pixels, these have 224; run .*--crop.size 96"):
        train.run(TrainJobConfig.model_validate(job))
