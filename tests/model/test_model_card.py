"""The card that comes with a bundle."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from deepfake.config import CropConfig, DetectorConfig, TrainJobConfig
from deepfake.model import model_card
from deepfake.model.bundle import BundleInfo
from deepfake.pipelines.train import pipeline
from deepfake.training import validation


def info(videos: int = 30) -> BundleInfo:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], videos)
    scored = pa.table(
        {
            "video_id": [f"{i}.mp4" for i in range(2 * videos)],
            "frame_index": [0] * (2 * videos),
            "label": labels,
            "role": ["both"] * (2 * videos),
            "method": ["real"] * videos + ["FaceSwap"] * videos,
            "group_id": pa.array([f"g{i // 2}" for i in range(2 * videos)]),
            "score": np.clip(random.normal(0.4 + 0.2 * labels, 0.1), 0, 1),
        }
    )
    return BundleInfo(
        model_sha256="ab" * 32,
        detector=DetectorConfig(name="yunet"),
        crop=CropConfig(margin=0.25),
        training={
            "crops": {
                "train_real_crops": 1200,
                "train_fake_crops": 3400,
                "train_fake_methods": {"A|B": 3400},
            },
            "identities": {"train": ["a", "b"], "val": ["c"]},
            "config": {"training": {"epochs": 4, "use_gpu": False, "threads_per_worker": None}},
            "epochs_run": 4,
            "best_epoch": 3,
        },
        **validation.derive_bundle_fields(scored),
    )


def test_it_tells_data_recipe_numbers_with_intervals_and_limits() -> None:
    made = info()
    text = model_card.render_card(made)
    assert r"| train | 1,200 | 3,400 | A\|B 3,400 |" in text
    assert "2 in train, 1 in val" in text
    assert "| network | `efficientnetb0` of keras.applications" in text
    assert "epochs 4, use_gpu no" in text and "the weights are those of epoch 3" in text
    video = made.metrics["val_video"]
    low, high = video["intervals"]["auc"]
    assert f"| AUC | {video['auc']:.3f} [{low:.3f}, {high:.3f}] |" in text
    assert "30 real validation videos, worth 15 of different people, cannot show a false" in text
    assert "face swaps and facial reenactment" in text


def test_it_says_where_nobody_knows_who_is_on_the_videos() -> None:
    made = info()
    assert "is not known" not in model_card.render_card(made)
    unnamed = made.model_copy(update={"training": {**made.training, "people_named": False}})
    assert "**Who is on these videos is not known**" in model_card.render_card(unnamed)
    config = TrainJobConfig(input="crops", output="out")
    assert pipeline.make_outcome(unnamed, {}, config).summary["people"] == pipeline.UNNAMED
    assert "people" not in pipeline.make_outcome(made, {}, config).summary


def test_it_says_whether_the_numbers_are_of_people_who_chose_the_epoch_too() -> None:
    made = info()
    assert "**One split did all**" in model_card.render_card(made)
    halved = made.model_copy(update={"training": {**made.training, "validation_halved": True}})
    assert "the other half chose the epoch" in model_card.render_card(halved)


def test_it_says_why_a_bundle_gives_no_verdict() -> None:
    assert "no verdicts" not in model_card.render_card(info())
    few = info(videos=10)
    words = "it was validated on 10 real and 10 fake videos, a verdict takes 20 of each"
    assert f"**This bundle gives scores and no verdicts**: {words}." in model_card.render_card(few)
    config = TrainJobConfig(input="crops", output="out")
    assert pipeline.make_outcome(few, {}, config).summary["unproven"] == words


def test_it_does_not_claim_what_a_bundle_lacks() -> None:
    text = model_card.render_card(BundleInfo(model_sha256="ab" * 32, threshold=0.5))
    assert "Threshold 0.5 (rule not recorded); no others." in text
    assert "None recorded." in text
    assert "Faces found by not recorded" not in text
