"""What users attach to a training: Keras callbacks of their own, and trackers.

MLflow and Weights & Biases are real stores, written by real trainings.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from deepfake.config import TrackingConfig, TrainJobConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model import bundle, model_card
from deepfake.training.trackers import QUIET, require_trackers, select_metrics
from tests import running
from tests.small_network import make_small_model
from tests.training.test_trainer import begin, build_small  # noqa: F401 - a fixture

# A user's own script, with callbacks of its own, of a whole training of two workers.
SCRIPT = """
import sys
from deepfake.config import ModelConfig, RayConfig, TrackingConfig, TrainingConfig, TrainJobConfig
from deepfake.pipelines.train.pipeline import run

crops, output, seen, backbone, weights, store = sys.argv[1:]

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
        tracking=TrackingConfig(mlflow=store, wandb=True),
        ray=RayConfig(num_cpus=2, object_store_mb=256),
    ),
    callbacks,
)
"""

BLOCK, WHOLE, LAST = 2**15, 1, 4  # bytes, and kinds of a record's part

pytest.importorskip("mlflow")
pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is as it was when the test ends."""
    for name, value in QUIET.items():
        monkeypatch.setenv(name, os.environ.get(name, value))


def list_runs(store: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(store.as_uri())
    experiment = client.get_experiment_by_name("deepfake")
    return [(client, run) for run in client.search_runs([experiment.experiment_id])] if experiment else []


def read_wandb(folder: Path) -> list[Any]:
    """The records of all offline runs below a folder: files as LevelDB's log, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, record = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if (rest := BLOCK - at % BLOCK) < 7:
                at += rest
                continue
            length, kind = struct.unpack_from("<HB", data, at + 4)
            record += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (WHOLE, LAST):
                found.append(Record.FromString(record))
                record = b""
    return found


@pytest.fixture(scope="module")
def training(small_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a training of two workers with own callbacks and both trackers has left everything."""
    folder = tmp_path_factory.mktemp("attached")
    script, seen = folder / "mine.py", folder / "seen"
    script.write_text(SCRIPT)
    seen.mkdir()
    model = make_small_model()
    words = [small_crops, folder / "model", seen, model.backbone, model.weights, folder / "mlflow"]
    running.run([sys.executable, str(script), *map(str, words)], folder, {"PYTHONPATH": str(running.ROOT)})
    return folder


@pytest.mark.slow
def test_own_callbacks_see_the_same_values_on_every_worker_and_can_stop(training: Path) -> None:
    first, second = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (training / "seen").iterdir()
    )
    own = ("input_wait_seconds", "train_seconds", "val_seconds")  # each worker's
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys() and {"loss", "val_loss", "val_auc"} <= one.keys()
        assert all(one[name] == other[name] for name in one.keys() - set(own))
    assert [row["epoch"] for row in first] == [0, 1]
    assert bundle.Bundle.load(str(training / "model")).info.training["epochs_run"] == 2


@pytest.mark.slow
def test_two_workers_are_one_run_with_parameters_epochs_and_the_bundle(training: Path) -> None:
    output, store = training / "model", training / "mlflow"
    history = tables.read_table(Storage(), str(output / "history.parquet"), "history").to_pylist()
    [(client, run)] = list_runs(store)
    assert run.info.status == "FINISHED" and run.info.run_name == "model"
    assert run.data.params["training.global_batch"] == "8" and "optimizer_name" in run.data.params
    for name, expected in select_metrics(history[-1]).items():
        found = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
        assert found[-1] == (2, pytest.approx(expected))
        assert [step for step, _ in found] == [1, 2]
    files = [item.path for item in client.list_artifacts(run.info.run_id, "bundle")]
    kept = {bundle.MODEL_FILE, bundle.BUNDLE_FILE, model_card.FILE}
    assert {"bundle/plots", *(f"bundle/{name}" for name in kept)} <= set(files)
    assert run.data.tags["bundle_sha256"] == bundle.read_bundle_info(str(output), Storage()).sha256

    records = read_wandb(output)
    rows = [
        {one.nested_key[0]: one.value_json for one in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    losses = [float(row["epoch/val_loss"]) for row in rows if "epoch/val_loss" in row]
    assert losses == [pytest.approx(row["val_loss"]) for row in history]
    assert "plots/loss" in rows[-1] and "plots/accuracy" in rows[-1]
    [artifact] = [record.artifact for record in records if record.HasField("artifact")]
    assert kept <= {item.path for item in artifact.manifest.contents}
    ids = {record.run.run_id for record in records if record.HasField("run")}
    assert len(ids) == 1


@pytest.mark.usefixtures("build_small")
def test_a_training_that_goes_on_goes_on_in_its_run(small_crops: Path, tmp_path: Path) -> None:
    store = tmp_path / "mlflow"
    tracking = TrackingConfig(mlflow=str(store))
    first = begin(small_crops, tmp_path / "out", tracking=tracking)
    row = first.run_epoch()
    first.save(tmp_path)
    first.publish(row)
    second = begin(small_crops, tmp_path / "out", tracking=tracking)
    second.restore(tmp_path)
    while second.has_more_epochs():
        second.publish(second.run_epoch())
    assert second.trackers is not None
    second.trackers.tell("close")
    [(client, run)] = list_runs(store)
    assert [one.step for one in client.get_metric_history(run.info.run_id, "val_loss")] == [1, 2, 3]
    assert run.info.status == "FINISHED"


@pytest.mark.usefixtures("build_small")
def test_a_store_that_fails_on_the_way_stops_no_training(
    small_crops: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "mlflow"
    store.write_text("no folder")
    made = begin(small_crops, tmp_path / "out", tracking=TrackingConfig(mlflow=str(store)))
    made.publish(made.run_epoch())
    assert made.trackers is not None and made.state.tracked == {}
    assert "mlflow: nothing goes there" in caplog.text


def test_what_cannot_be_tracked_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(output: str, **tracking: Any) -> TrainJobConfig:
        return TrainJobConfig(input="in", output=output, tracking=TrackingConfig(**tracking))

    with pytest.raises(UsageError, match="s3://bucket/x: a folder or the http"):
        require_trackers(job("out", mlflow="s3://bucket/x"))
    with pytest.raises(UsageError, match="no MLflow server answers"):
        require_trackers(job("out", mlflow="http://127.0.0.1:1"))
    with pytest.raises(UsageError, match=r"local --output; add --tracking.wandb_online true"):
        require_trackers(job("s3://bucket/out", wandb=True))
    monkeypatch.setattr("deepfake.training.trackers.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'deepfake\[mlflow\]'"):
        require_trackers(job("out", mlflow=str(tmp_path)))
