"""A preset's folder of KerasHub, by command: trained on crops, then used on an archive."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import running
from tests.small_preset import save_preset

pytest.importorskip("keras_hub", reason="KerasHub is not installed: the extra deepfake[hub]")


@pytest.mark.slow(60)
def test_a_preset_is_trained_and_scores_an_archive(
    small_crops: Path, ffpp_small: Path, tmp_path: Path
) -> None:
    options = {
        "input": small_crops, "output": "model", "ray.start": "never", "training.epochs": 2,
        "model.backbone": "kerashub:siglip2_tiny", "model.weights": save_preset(tmp_path, "siglip2"),
        "model.head": "sphere", "training.fine_tune": "norms", "training.freeze_batch_norm": "false",
        "training.global_batch": 8,
    }  # fmt: skip
    running.run(running.command("train", *running.flags(options)), tmp_path)
    card = (tmp_path / "model" / "model_card.md").read_text()
    assert "| network | `kerashub:siglip2_tiny` of KerasHub with a small head," in card
    assert "not normalised; resized once, inside the network, to 256 x 256 |" in card
    assert "| licence | of the backbone's weights, where they began with its makers': Apache 2.0 " in card
    clip = min(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    (tmp_path / "archive").mkdir()
    shutil.copy(clip, tmp_path / "archive")
    words = running.flags({"input": "archive", "bundle": "model", "output": "scores", "ray.start": "never"})
    running.run(running.command("score", *words), tmp_path)
    (row,) = pq.read_table(tmp_path / "scores" / "video_scores").to_pylist()
    assert row["status"] == "ok" and 0 < row["score"] < 1
    assert not list((tmp_path / "scores").rglob("*-heat.jpg"))
