"""A run that goes on with another number of workers ends with the same weights. Real processes, no Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import running

HEAD_EPOCHS, EPOCHS = 2, 4
# On features of random weights the hidden units are always on, so their bias only shifts what a norm takes:
# its gradient is zero but for rounding, of which Adam makes steps of up to the rate.
UNDETERMINED = "head_dense/bias"

# Does several runs in turn, each a name and the checkpoint that it starts from; a run from the start leaves
# a checkpoint of every epoch, and each leaves its weights.
WORKER = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
rank, world, crops, folder, small, options, runs = map(json.loads, sys.argv[1:])
from deepfake.model import keras_runtime
keras = keras_runtime.start_keras(threads=1)
from deepfake.training import trainer
from deepfake.training.distributed.collective import Collective
only = Collective(rank, world)
trainer.Collective = lambda *_: only  # TensorFlow takes one a process
import numpy as np
from deepfake.config import ModelConfig, TrainingConfig, TrainJobConfig
from deepfake.crops import dataset
from deepfake.io.storage import Storage
from deepfake.model import network
from deepfake.model.network import list_weights
from deepfake.training.resources import divide_node
from deepfake.training.task import TrainingTask
from deepfake.training.validation import collect_faces, number_choosing_videos
from tests.small_network import small_network

def make_two_blocks(keras, image, *_):
    for block in (12, 13):  # the last of MobileNet, by name
        image = keras.layers.Conv2D(8, 5, strides=4, use_bias=False, name=f"conv_pw_{block}")(image)
        image = keras.layers.BatchNormalization(name=f"conv_pw_{block}_bn")(image)
        image = keras.layers.ReLU(name=f"conv_pw_{block}_relu")(image)
    return SimpleNamespace(output=image)

if small:
    trainer.build_starting_network = lambda *_: small_network(keras)
network._make_backbone = make_two_blocks  # before the project's own head
model = ModelConfig(backbone="mobilenet025", weights="none", dense_units=16)
config = TrainJobConfig(input=crops, output=folder, model=model, training=TrainingConfig(**options))
opened = dataset.open_crops(crops, Storage())
train, val = (dataset.select_rows(opened, split) for split in ("train", "val"))
videos = number_choosing_videos(collect_faces(opened, val, 0))
task = TrainingTask(config, opened.files, train, val, videos)
for name, start in runs:
    made = trainer.Trainer(task, divide_node(2, world), rank, world)
    if start is not None:
        made.restore(Path(folder, start))
    def keep():
        checkpoint = Path(folder, f"{name} {made.state.epoch}.{made.state.steps}")
        if rank == 0 and start is None:
            checkpoint.mkdir()
            made.save(checkpoint)
    while made.has_more_epochs():
        made.run_epoch(keep)
        keep()
    if rank == 0:
        names = (weight.path for weight in list_weights(made.phase_state.learner.network))
        np.savez(Path(folder, f"{name}.npz"), **dict(zip(names, made.best_weights, strict=True)))
"""


@pytest.mark.slow(60)
@pytest.mark.parametrize(
    ("small", "options"),
    [
        (True, {"fine_tune": "all", "freeze_batch_norm": False, "weight_decay": 0.01}),
        (False, {"fine_tune": "top", "accumulate": 2}),
    ],
    ids=["stochastic depth, and norms that learn", "the last blocks, in parts"],
)
def test_one_worker_goes_on_as_two_and_two_as_one_after_any_epoch_and_within_one(
    small_crops: Path, tmp_path: Path, small: bool, options: dict[str, Any]
) -> None:
    options = {
        "epochs": EPOCHS, "head_epochs": HEAD_EPOCHS, "global_batch": 7, "ema": 0.5, "select": "last",
        "head_learning_rate": 1e-4, "learning_rate": 1e-4, "checkpoint_minutes": 0, **options,
    }  # fmt: skip
    reached = ("0.4", "1.0", "2.0", "2.4", "3.0") if small else ("1.0", "3.0")
    one_to_two = [(f"one to two after {epoch}", f"one {epoch}") for epoch in reached]
    two_to_one = [(f"two to one after {epoch}", f"two {epoch}") for epoch in reached]
    for world, runs in ((1, [("one", None)]), (2, [("two", None), *one_to_two]), (1, two_to_one)):
        running.run_as_workers(WORKER, world, str(small_crops), str(tmp_path), small, options, runs)
    with np.load(tmp_path / "one.npz") as undisturbed:
        for name in ("two", *(name for name, _ in (*one_to_two, *two_to_one))):
            with np.load(tmp_path / f"{name}.npz") as found:
                assert len(found.files) > 10
                for key in set(undisturbed) - {UNDETERMINED}:
                    # A statistic takes a tenth of each batch's, of features that add up many weights each.
                    atol = 5e-5 if "/moving_" in key else 1e-5
                    np.testing.assert_allclose(
                        found[key], undisturbed[key], atol=atol, rtol=0, err_msg=f"{name}: {key}"
                    )
