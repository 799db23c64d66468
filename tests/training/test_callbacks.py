"""A user's own Keras callbacks, from a user's own script, through a whole training of two workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from deepfake.model.bundle import Bundle
from tests import running
from tests.small_network import make_small_model

SCRIPT = """
import sys
from deepfake.config import ModelConfig, RayConfig, TrainingConfig, TrainJobConfig
from deepfake.pipelines.train.pipeline import run

crops, output, seen, backbone, weights = sys.argv[1:]

def callbacks():
    import json, os, keras

    class WriteDownAndStop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            with open(f"{seen}/{os.getpid()}", "a") as file:
                file.write(json.dumps({**logs, "epoch": epoch}) + "\\n")
            self.model.stop_training = epoch == 1

    return [WriteDownAndStop()]

run(
    TrainJobConfig(
        input=crops,
        output=output,
        model=ModelConfig(backbone=backbone, weights=weights),
        training=TrainingConfig(epochs=5, fine_tune="none", workers=2, global_batch=8),
        ray=RayConfig(num_cpus=2, object_store_mb=256),
    ),
    callbacks,
)
"""


@pytest.mark.slow
def test_own_callbacks_see_the_same_values_on_every_worker_and_can_stop(
    small_crops: Path, tmp_path: Path
) -> None:
    script, seen = tmp_path / "mine.py", tmp_path / "seen"
    script.write_text(SCRIPT)
    seen.mkdir()
    words = [sys.executable, str(script), str(small_crops), str(tmp_path / "model"), str(seen)]
    model = make_small_model()
    words += [model.backbone, model.weights]
    running.run(words, tmp_path, {"PYTHONPATH": str(running.ROOT)})
    first, second = ([json.loads(line) for line in path.read_text().splitlines()] for path in seen.iterdir())
    own = ("input_wait_seconds", "train_seconds", "val_seconds")  # each worker's
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys() and {"loss", "val_loss", "val_auc"} <= one.keys()
        assert all(one[name] == other[name] for name in one.keys() - set(own))
    assert [row["epoch"] for row in first] == [0, 1]
    assert Bundle.load(str(tmp_path / "model")).info.training["epochs_run"] == 2
