"""Real training on Ray: two worker processes, kills and restarts, and the same numbers each time.

Two phases, a moving average and a cosine, so that a restart has all of that to go on from. Killed once by
default; ``DEEPFAKE_KILLS=10`` has it ten times.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake import metrics
from deepfake.config import CropConfig
from deepfake.crops import dataset
from deepfake.crops.reader import decode_crop, read_crops
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model.bundle import MODEL_FILE, Bundle
from deepfake.report.images import encode_file
from tests import running
from tests.jobs import Job
from tests.small_network import list_small_model_words

HEAD_EPOCHS, EPOCHS = 2, 5
KILLS = int(os.environ.get("DEEPFAKE_KILLS", "1"))
WORKER_LINE = re.compile(r"worker (\d) of (\d): process (\d+)")
EPOCH_LINE = re.compile(r"epoch (\d)/\d  loss ")
RESUMED_LINE = re.compile(r"going on after epoch (\d)")
pytestmark = pytest.mark.slow


def command(crops: Path | str, output: Path | str, workers: int) -> list[str]:
    options = {
        "input": crops,
        "output": output,
        "model.dropout": 0,
        "model.head_dropout": 0,
        "training.epochs": EPOCHS,
        "training.head_epochs": HEAD_EPOCHS,
        "training.fine_tune": "top",
        "training.fine_tune_blocks": 1,
        "training.learning_rate": 0.0003,  # so little that no loss comes near 0, where rounding shows
        "training.ema": 0.5,
        "training.workers": workers,
        "training.global_batch": 8,
        "training.head_learning_rate": 0.001,
        "ray.num_cpus": 2,
        "ray.start": "always",
        "ray.object_store_mb": 256,
    }
    return running.command("train", *list_small_model_words(), *running.flags(options))


def run(crops: Path, output: Path, workers: int) -> str:
    """The job's output, both streams."""
    return running.run(command(crops, output, workers), output.parent)


def history(output: Path) -> list[dict[str, Any]]:
    """The history without times."""
    rows = pq.read_table(output / "history.parquet").to_pylist()
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


def weights(output: Path) -> list[np.ndarray]:
    return Bundle.load(str(output), Storage()).network.get_weights()


@pytest.fixture(scope="module")
def undisturbed(small_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished job of two workers: its output folder and what it printed."""
    output = tmp_path_factory.mktemp("two") / "model"
    return output, run(small_crops, output, 2)


def test_two_workers_are_two_processes_and_each_epoch_is_one_line(undisturbed: tuple[Path, str]) -> None:
    output, printed = undisturbed
    processes = {(rank, process) for rank, _, process in WORKER_LINE.findall(printed)}
    assert {rank for rank, _ in processes} == {"0", "1"}
    assert len({process for _, process in processes}) == 2
    assert [int(number) for number in EPOCH_LINE.findall(printed)] == list(range(1, EPOCHS + 1))
    assert "Summary" in printed and str(output) in printed
    assert "PlacementGroupCleaner" not in printed
    assert "(RayTrainWorker pid=" in printed and "\x1b[36m(" not in printed  # no colours before the prefix


def test_the_bundle_holds_everything_that_a_reader_needs(undisturbed: tuple[Path, str]) -> None:
    output, _ = undisturbed
    loaded = Bundle.load(str(output), Storage())
    assert loaded.info.crop == CropConfig(margin=0.25)
    assert loaded.info.detector is not None and loaded.info.detector.name == "haar"
    assert loaded.info.training["identities"]["val"] == [
        f"val-{k}-{i}" for k in ("fake", "real") for i in (0, 1)
    ]
    assert loaded.info.training["epochs_run"] == EPOCHS
    assert [row["phase"] for row in history(output)] == ["head"] * HEAD_EPOCHS + ["fine_tune"] * 3
    assert tables.read_table(Storage(), str(output / "history.parquet"), "history").num_rows == EPOCHS
    assert len((output / "history.csv").read_text().splitlines()) == EPOCHS + 1
    for name in ("accuracy", "loss", "accuracy-dark", "loss-dark"):
        assert (output / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (output / "_summary.json").exists() and not (output / "_checkpoints").exists()


def total(seconds: dict[str, float]) -> float:
    return sum(seconds.values())


def test_where_the_time_of_two_workers_went_is_told_and_is_all_of_it(undisturbed: tuple[Path, str]) -> None:
    output, printed = undisturbed
    told = json.loads((output / "_summary.json").read_text())["accounting"]
    stages = {"start", "input", "step", "collective", "checkpoint", "score", "other"}
    spent, loaders = (
        [
            {name: one[name] for name in one if name not in ("worker", "cpus")}
            for one in told["workers"]
            if (one["cpus"] > 0) == trains
        ]
        for trains in (True, False)
    )
    assert len(spent) == 2
    decoded = [one for one in loaders if "decode" in one]
    assert len(decoded) >= 2 and any("read" in one for one in loaders)
    assert all(one["decode"] > 0 and sum(one.values()) < max(map(total, spent)) for one in decoded)
    assert sum(told["loader_seconds"].values()) == pytest.approx(sum(map(total, loaders)), abs=0.1)
    assert all(stages <= one.keys() and min(one.values()) >= 0 for one in spent)
    lived = list(map(total, spent))  # they begin and end together
    assert lived[0] == pytest.approx(lived[1], rel=0.1) and max(lived) < told["job_seconds"]["work"]
    rows = pq.read_table(output / "history.parquet").to_pylist()
    assert told["crops"] == sum(row["crops"] for row in rows)
    waited = sum(row["input_wait_seconds"] for row in rows)
    assert 0 < waited <= max(one["input"] for one in spent)
    assert "worker's time" in printed and "crops a core-hour" in printed


def test_tensorboard_shows_what_the_history_says(undisturbed: tuple[Path, str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output, _ = undisturbed
    events = EventAccumulator(str(output / "tensorboard"))
    events.Reload()
    assert {"train/loss", "val/loss", "val/auc", "train/learning_rate"} <= set(events.Tags()["tensors"])
    from tensorflow import make_ndarray

    values = [float(make_ndarray(event.tensor_proto)) for event in events.Tensors("val/loss")]
    np.testing.assert_allclose(values, [row["val_loss"] for row in history(output)], rtol=1e-6)


def test_validation_metrics_are_those_of_the_saved_network(
    undisturbed: tuple[Path, str], small_crops: Path
) -> None:
    output, _ = undisturbed
    storage = Storage()
    loaded = Bundle.load(str(output), storage)
    crops = dataset.open_crops(str(small_crops), storage)
    rows = dataset.select_rows(crops, "val")
    images = []
    for file, group, row in zip(rows.file, rows.row_group, rows.row, strict=True):
        place = (crops.files[file], int(group), int(row))
        images.append(decode_crop(read_crops([place], storage)[place].encoded, 224))
    exact = metrics.measure_binary(rows.label, loaded.score(np.stack(images)), loaded.info.threshold)
    recorded = loaded.info.metrics["val"]
    assert recorded["confusion"] == exact["confusion"]
    for name in ("auc", "log_loss", "eer", "accuracy"):
        assert recorded[name] == pytest.approx(exact[name], abs=1e-5), name
    best = next(row for row in history(output) if row["epoch"] == loaded.info.training["best_epoch"])
    assert best["val_balanced_loss"] == min(row["val_balanced_loss"] for row in history(output))
    assert best["val_loss"] == pytest.approx(exact["log_loss"], abs=1e-5)


def test_one_worker_on_s3_learns_what_two_learn_on_disk(
    undisturbed: tuple[Path, str], small_crops: Path, s3_server: Any, s3_root: str, tmp_path: Path
) -> None:
    storage = Storage()
    storage.upload_folder(small_crops, f"{s3_root}/crops")
    (tmp_path / "cwd").mkdir()
    running.run(command(f"{s3_root}/crops", f"{s3_root}/model", 1), tmp_path / "cwd", s3_server.environment)
    assert not list((tmp_path / "cwd").iterdir())
    model = tmp_path / "model"
    storage.download_folder(f"{s3_root}/model", model)
    assert list(model.glob("tensorboard/events*")) and not (model / "_checkpoints").exists()
    assert Bundle.load(f"{s3_root}/model", storage).sha256 == Bundle.load(str(model), storage).sha256

    # not AUC: an untrained backbone gives all crops nearly the same score, and rounding decides their order
    exact = ("epoch", "steps", "crops", "learning_rate")
    close = ("loss", "penalty", "val_loss")
    for one, two in zip(history(model), history(undisturbed[0]), strict=True):
        assert [one[name] for name in exact] == [two[name] for name in exact]
        np.testing.assert_allclose(
            [one[name] for name in close], [two[name] for name in close], rtol=1e-4, err_msg=str(one["epoch"])
        )


def test_a_finished_job_started_again_does_nothing(undisturbed: tuple[Path, str], small_crops: Path) -> None:
    output, _ = undisturbed
    before = (output / MODEL_FILE).read_bytes()
    printed = run(small_crops, output, 2)
    assert "finished already" in printed
    assert (output / MODEL_FILE).read_bytes() == before


@pytest.mark.slow(150)
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_worker_and_a_stopped_job_end_with_the_numbers_of_an_undisturbed_run(
    undisturbed: tuple[Path, str], small_crops: Path, tmp_path: Path, seed: int
) -> None:
    """The worker dies between two epochs, or, where the seed is odd, somewhere within one.

    There are checkpoints within epochs, too; the undisturbed run has none.
    """
    rng = random.Random(seed)
    rank, reached = (1, HEAD_EPOCHS) if seed == 0 else (rng.randrange(2), rng.randrange(2, EPOCHS - 1))
    expected, _ = undisturbed
    output = tmp_path / "model"
    words = [*command(small_crops, output, 2), "--training.checkpoint_minutes", "0"]

    first = Job(words, tmp_path)
    victim = first.wait_for(re.compile(rf"worker {rank} of 2: process (\d+)"))
    # then the checkpoint of the epoch before is on record
    first.wait_for(re.compile(rf"epoch {reached}/\d  loss "))
    if seed % 2:
        first.pause(2 * rng.random())
    os.kill(int(victim[1]), signal.SIGKILL)
    assert int(first.wait_for(RESUMED_LINE)[1]) >= 1
    first.wait_for(EPOCH_LINE)
    stop = rng.choice((signal.SIGTERM, signal.SIGINT))
    first.process.send_signal(stop)
    assert first.finish() == 128 + stop, first.printed
    assert not (output / "bundle.json").exists()

    printed = running.run(words, tmp_path)
    assert RESUMED_LINE.search(printed)
    assert history(output) == history(expected)
    for mine, theirs in zip(weights(output), weights(expected), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_another_configuration_does_not_mix_with_what_the_output_holds(
    undisturbed: tuple[Path, str], small_crops: Path
) -> None:
    output, _ = undisturbed
    words = [*command(small_crops, output, 2), "--training.seed", "5"]
    done = subprocess.run(
        words, env=running.environment(), capture_output=True, text=True, timeout=running.HANGS_SECONDS
    )
    assert done.returncode == 2
    assert "another configuration" in done.stderr and "--training.resume false" in done.stderr


def test_what_would_fail_again_is_not_tried_again(small_crops: Path, tmp_path: Path) -> None:
    words = [*command(small_crops, tmp_path / "model", 1), "--training.head_learning_rate", "1e30"]
    done = subprocess.run(
        words, env=running.environment(), capture_output=True, text=True, timeout=running.HANGS_SECONDS
    )
    assert done.returncode == 1, done.stderr
    assert "training failed: the network's scores are no longer finite; lower training." in done.stderr
    assert len(WORKER_LINE.findall(done.stderr + done.stdout)) == 1


def test_a_crop_that_is_none_ends_the_training_at_once_in_a_sentence(
    small_crops: Path, tmp_path: Path
) -> None:
    spoilt = shutil.copytree(small_crops, tmp_path / "crops")
    parts = {part: pq.read_table(part) for part in sorted(spoilt.glob("part-*.parquet"))}
    part, table = next(pair for pair in parts.items() if "train" in pair[1]["split"].to_pylist())
    at, place = table["split"].to_pylist().index("train"), table.schema.get_field_index("crop")
    crops = table["crop"].to_pylist()
    crops[at] = encode_file(np.zeros((9, 9, 3), np.uint8), ".png")
    table = table.set_column(place, table.schema.field(place), pa.array(crops, table.schema.types[place]))
    pq.write_table(table, part, row_group_size=16)
    done = subprocess.run(
        command(spoilt, tmp_path / "model", 2), env=running.environment(), capture_output=True, text=True,
        timeout=running.HANGS_SECONDS,
    )  # fmt: skip
    said = done.stderr + done.stdout
    assert done.returncode == 1, said
    assert "the stored crop is 9x9, expected 224x224" in done.stderr.splitlines()[-1]
    assert len(WORKER_LINE.findall(said)) == 2 and "Traceback" not in said, said
