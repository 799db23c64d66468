"""Recipes side by side: the command line, the table, and the whole job on small crops."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from deepfake.config import FaultsConfig, TrainJobConfig, hash_config
from deepfake.config.parse import load_config
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.train import compare
from deepfake.pipelines.train.compare import Numbers, Recipe, Trained
from tests import running
from tests.small_network import list_small_model_words
from tests.stored_crops import write_crops

RECIPES = ["recipe:seed", "recipe:honest"]


def arguments(crops: Path, output: Path, *more: str) -> list[str]:
    return ["--compare", *RECIPES, "--input", str(crops), "--output", str(output), *more]


def test_the_command_line_holds_for_all_recipes_over_what_they_say(tmp_path: Path) -> None:
    words = arguments(tmp_path, tmp_path / "out", "--training.epochs", "3", "--model.weights=none")
    config = load_config(TrainJobConfig, words)
    assert config.compare == RECIPES
    seed, honest = compare.load_recipes(config, Storage())
    assert seed.config.output == str(tmp_path / "out" / "seed")
    assert {r.config.training.epochs for r in (seed, honest)} == {3}
    assert {r.config.model.weights for r in (seed, honest)} == {"none"}
    assert seed.config.faults.frame_split and not honest.config.faults.list_names()
    assert seed.config.training.global_batch == 16 and honest.config.training.global_batch == 32


@pytest.mark.parametrize("paths", [RECIPES[:1], [RECIPES[0], RECIPES[0]]])
def test_one_recipe_is_nothing_to_compare(paths: list[str], tmp_path: Path) -> None:
    words = ["--compare", *paths, "--input", "x", "--output", str(tmp_path)]
    with pytest.raises(UsageError, match="two or more recipes of different names"):
        compare.load_recipes(load_config(TrainJobConfig, words), Storage())


def test_recipes_are_measured_on_test_or_else_on_validation(make_crops, tmp_path: Path) -> None:
    from deepfake.crops import dataset

    words = ["--compare", *RECIPES, "--input", "x", "--output", str(tmp_path)]
    config = load_config(TrainJobConfig, words)
    splits = (("train", 0, 1, 1), ("train", 1, 1, 1), ("val", 0, 1, 1), ("val", 1, 1, 1))
    without = dataset.open_crops(str(make_crops(splits)), Storage())
    assert compare.choose_identity_split(without.table, config) == "val"
    more = make_crops((*splits, ("test", 0, 1, 1), ("test", 1, 1, 1)), name="more")
    assert compare.choose_identity_split(dataset.open_crops(str(more), Storage()).table, config) == "test"


def test_the_numbers_of_crops_and_of_videos() -> None:
    table = pa.table(
        {
            "video_id": ["a", "a", "b", "b", "c", "d"],
            "label": pa.array([0, 0, 0, 0, 1, 1], pa.int8()),
            "score": [0.1, 0.7, 0.2, 0.2, 0.6, 0.9],
        }
    )
    found = compare.measure_scores("seed", "own", table, 0.5)
    assert (found.crops, found.videos) == (6, 4)
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.auc == pytest.approx(7 / 8)  # .7 is above .6
    assert found.video_auc == 1.0  # the mean of .1 and .7 is not
    assert found.auc_low is not None and found.auc_high is not None
    assert found.auc_low <= found.auc <= found.auc_high
    assert found.accuracy_low is not None and found.accuracy_high is not None
    assert found.accuracy_low < found.accuracy < found.accuracy_high


def test_each_seed_is_a_training_of_its_own_and_means_nothing_without_recipes(tmp_path: Path) -> None:
    words = arguments(tmp_path, tmp_path / "out", "--training.seeds", "0", "1", "2")
    recipe = compare.load_recipes(load_config(TrainJobConfig, words), Storage())[1]
    runs = recipe.list_runs()
    assert [run.training.seed for run in runs] == [0, 1, 2]
    assert [run.output for run in runs] == [str(tmp_path / "out" / "honest" / f"seed-{i}") for i in range(3)]
    alone = load_config(TrainJobConfig, ["--input", str(tmp_path), "--output", str(tmp_path / "out")])
    plain = alone.model_copy(update={"output": runs[0].output})
    assert hash_config(runs[0]) == hash_config(plain)  # such a run is no other than a training by itself
    for more, said in ((["1"], "is for --compare"), (["1", "1", *words[:3]], "a seed twice")):
        with pytest.raises(UsageError, match=said):
            load_config(TrainJobConfig, ["--input", "x", "--output", "y", "--training.seeds", *more])


def trained(seed: int, scores: list[float]) -> Trained:
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    table = pa.table({"video_id": list("abcdefgh"), "label": pa.array(labels, pa.int8()), "score": scores})
    numbers = compare.measure_scores("any", "identity", table, 0.5)
    return Trained(seed, {"own": numbers, "identity": numbers}, table)


RIGHT = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
NEARLY = [0.1, 0.2, 0.3, 0.65, 0.6, 0.7, 0.8, 0.9]
WRONG = [0.6, 0.9, 0.7, 0.8, 0.4, 0.1, 0.2, 0.3]


def test_two_recipes_differ_by_their_mean_aucs_with_an_interval_from_the_same_resamples() -> None:
    runs = {"bad": [trained(0, WRONG)], "good": [trained(0, RIGHT), trained(1, NEARLY)]}
    rows = compare.measure_auc_differences(runs)
    assert [(row["recipe"], row["than"], row["level"]) for row in rows] == [
        ("good", "bad", "videos"),
        ("good", "bad", "crops"),
    ]
    assert rows[0]["difference"] == pytest.approx((1 + 15 / 16) / 2)
    low, high = rows[0]["difference_interval"]
    assert 0.8 < low <= rows[0]["difference"] <= high == 1.0
    text = compare.format_differences(rows, {"auc": 0.9, "interval": [0.8, 0.95]})
    assert "- good less bad, AUC of videos of the identity split: +0.969 (+" in text
    assert "without looking, by numbers of each crop and no pixel: AUC of crops 0.900 (0.800 to" in text


def test_seeds_are_shown_one_by_one_with_their_mean_and_their_spread() -> None:
    runs = [trained(0, RIGHT), trained(1, NEARLY)]
    mean = compare.average_numbers(runs, "identity")
    assert mean.auc == pytest.approx((1 + 15 / 16) / 2)
    assert mean.accuracy == pytest.approx((1 + 7 / 8) / 2)
    assert mean.auc_low is not None and mean.auc_low <= mean.auc
    text = compare.format_seeds({"good": runs})
    assert "| good | 1 | 0.875 | 0.938 | 0.938 |" in text
    assert "| good | 2 seeds | 0.875 to 1.000 | 0.938 to 1.000 | 0.938 to 1.000 |" in text
    assert compare.format_seeds({"good": runs[:1]}) == ""


def test_the_table_says_how_much_was_leakage(tmp_path: Path) -> None:
    base = TrainJobConfig(input="x", output=str(tmp_path))
    recipes = [
        Recipe("seed", base.model_copy(update={"faults": FaultsConfig(frame_split=True)})),
        Recipe("honest", base),
    ]
    found = [
        Numbers("seed", "own", 100, 10, 0.97, 0.95, 0.99, 0.99, 0.98, 1.0, 1.0),
        Numbers("seed", "identity", 50, 5, 0.55, 0.4, 0.7, 0.60, 0.4, 0.8, 0.6),
        Numbers("honest", "own", 50, 5, 0.8, None, None, 0.9, None, None, None, "it guesses"),
        Numbers("honest", "identity", 50, 5, 0.8, None, None, 0.9, None, None, None),
    ]
    text = compare.format_comparison(recipes, found, "test", named=True)
    assert "| seed | its own | 100 | 10 | 0.970 (0.950 to 0.990) | 0.990 (0.980 to 1.000) | 1.000 |" in text
    assert "| 50 | 5 | 0.550 (0.400 to 0.700) | 0.600 (0.400 to 0.800) | 0.600 |" in text
    assert "| honest | its own | 50 | 5 | 0.800 | 0.900 | - |" in text
    assert "of the 0.990 it reports itself, 0.390 is leakage" in text
    assert "honest, made without known mistakes: AUC 0.900 on people it has not seen. Its bundle" in text
    assert text.count("gives no verdicts: it guesses.") == 1
    assert "who is on them is not known" in compare.format_comparison(recipes, found, "test", named=False)
    assert compare.comparison_as_json(recipes, found, "test")["recipes"]["seed"]["own"]["auc"] == 0.99


@pytest.mark.slow(120)
def test_both_recipes_are_trained_and_measured_and_a_second_start_only_shows_it(tmp_path: Path) -> None:
    crops = write_crops(tmp_path / "crops", (
        ("train", 0, 3, 4), ("train", 1, 3, 4), ("val", 0, 2, 2), ("val", 1, 2, 2),
    ))  # fmt: skip
    words = arguments(
        crops, tmp_path / "out", *list_small_model_words(), "--training.epochs", "1",
        "--training.fine_tune", "none", "--training.freeze_batch_norm", "false",
        "--ray.num_cpus", "2", "--ray.object_store_mb", "256", "--training.seeds", "1",
    )  # fmt: skip

    def run() -> tuple[str, bytes]:
        printed = running.run(running.command("train", *words), tmp_path)
        return printed, (tmp_path / "out" / "compare.json").read_bytes()

    printed, first = run()
    assert "faults.rotate_fakes is on" in printed
    table = (tmp_path / "out" / "compare.md").read_text()
    assert table.strip() in printed and "| seed | its own |" in table
    found = json.loads(first)
    assert found["identity_split"] == "val"
    assert found["recipes"]["seed"]["identity"]["crops"] == 8
    assert found["recipes"]["seed"]["own"]["crops"] == round(0.2 * (24 + 12))
    assert "faults.frame_split" in found["recipes"]["seed"]["own"]["unproven"]
    own, identity = (found["recipes"]["honest"][split] for split in ("own", "identity"))
    assert own["crops"] == identity["crops"] and own["accuracy"] == pytest.approx(identity["accuracy"])
    assert [(row["seed"], row["recipe"]) for row in found["seeds"] if row["split"] == "own"] == [
        (1, "seed"), (1, "honest"),
    ]  # fmt: skip
    assert "- honest less seed, AUC of videos" in table
    assert found["without_looking"]["auc"] is not None
    written = tmp_path / "out" / "seed" / "seed-1" / "validation_scores.parquet"
    scores = tables.read_table(Storage(), str(written), "validation_scores")
    assert True in scores["turned"].to_pylist()
    assert all(name.startswith("train/") for name in scores["video_id"].to_pylist())

    again, second = run()
    assert second == first
    assert again.count("this very training is finished already") == 2
