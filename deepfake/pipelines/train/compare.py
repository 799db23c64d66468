"""Recipes side by side: each one's numbers on the split that it chose itself, and on people it never saw.

Each recipe is trained once, or once with each of several seeds. Its own split is what it was validated on;
the identity split is the same for all recipes, and no recipe trains on it. What the first number has over the
second was leakage: the same videos on both sides, or something besides the faces that told the classes apart.
"""

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import deepfake.pipelines.evaluate.pipeline
from deepfake import metrics
from deepfake.catalog.identity_overlap import choose_resampling_units, names_people, require_both_classes
from deepfake.config import EvaluateJobConfig, EvaluationConfig, TrainJobConfig
from deepfake.config.parse import RECIPE, load_recipe
from deepfake.crops import dataset
from deepfake.errors import UsageError
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model.bundle import read_bundle_info
from deepfake.model.verdicts import explain_unproven
from deepfake.outcome import Outcome
from deepfake.pipelines.evaluate import inputs
from deepfake.pipelines.evaluate.page import put_difference_in_words
from deepfake.pipelines.evaluate.results import WITHOUT_LOOKING
from deepfake.pipelines.train import pipeline
from deepfake.training import validation

log = logging.getLogger(__name__)

TABLE_FILE, JSON_FILE = "compare.md", "compare.json"
OWN, IDENTITY = "own", "identity"
_EVALUATED = "identity_split"  # folder in a recipe's output
_TEST = "test"


@dataclass(frozen=True)
class Recipe:
    """One recipe to compare."""

    name: str
    config: TrainJobConfig

    def list_runs(self) -> list[TrainJobConfig]:
        """Its trainings: one, or one for each of ``training.seeds`` in a folder of its own."""
        training, output = self.config.training, self.config.output
        runs = [(seed, join(output, f"seed-{seed}")) for seed in training.seeds] or [(training.seed, output)]
        return [
            self.config.model_copy(
                update={
                    "compare": [],
                    "training": training.model_copy(update={"seeds": [], "seed": seed}),
                    "output": folder,
                }
            )
            for seed, folder in runs
        ]


@dataclass(frozen=True)
class Numbers:
    """A training under one split; of several seeds the means, with the interval of the mean AUC alone."""

    recipe: str
    split: str  # own or identity
    crops: int
    videos: int
    accuracy: float  # of crops, at the bundle's threshold
    accuracy_low: float | None  # 95 %, identities resampled
    accuracy_high: float | None
    auc: float | None  # of crops
    auc_low: float | None
    auc_high: float | None
    video_auc: float | None  # of videos, each the mean of its crops
    unproven: str = ""  # why the recipe's bundle gives no verdict


@dataclass(frozen=True)
class Trained:
    """One training of a recipe, measured."""

    seed: int
    by_split: dict[str, Numbers]
    scores: pa.Table  # table ``face_scores`` of the identity split, sorted by key
    blind: dict[str, Any] | None = None  # the AUC of these crops that is reached without looking


def run(config: TrainJobConfig) -> Outcome:
    """Train and measure every recipe of ``config.compare``; what else ``config`` was told holds for all."""
    storage = Storage(config.storage)
    recipes = load_recipes(config, storage)
    output = make_absolute(config.output)
    crops = dataset.open_crops(make_absolute(config.input), storage, config.limit)
    split = choose_identity_split(crops.table, config)
    if config.dry_run:
        runs = {recipe.name: recipe.list_runs() for recipe in recipes}
        plans = {name: pipeline.run(each[0]).summary["crops_per_epoch"] for name, each in runs.items()}
        return Outcome({"recipes": plans, "trainings": sum(map(len, runs.values())), "identity_split": split})
    trained: dict[str, list[Trained]] = {recipe.name: [] for recipe in recipes}
    with lock.hold(output, storage):
        for recipe in recipes:
            for one in recipe.list_runs():
                log.info("recipe %s, seed %d", recipe.name, one.training.seed)
                pipeline.run(one)
                trained[recipe.name].append(measure_training(recipe.name, one, split, storage))
        found = [average_numbers(runs, name) for runs in trained.values() for name in (OWN, IDENTITY)]
        differences = measure_auc_differences(trained)
        blind = trained[recipes[0].name][0].blind
        text = format_comparison(recipes, found, split, names_people(crops.table))
        text += format_differences(differences, blind) + format_seeds(trained)
        whole = comparison_as_json(recipes, found, split) | {
            "seeds": [
                {"seed": one.seed, **vars(row)}
                for runs in trained.values()
                for one in runs
                for row in one.by_split.values()
            ],
            "differences": differences,
            "without_looking": blind,
        }
        as_files = {TABLE_FILE: text, JSON_FILE: json.dumps(whole, indent=2)}
        for name, content in as_files.items():
            storage.write_text(join(output, name), content + "\n")
    summary = {"recipes": ", ".join(recipe.name for recipe in recipes), "identity_split": split}
    return Outcome(summary, look_at=[join(output, name) for name in as_files], table=text)


def load_recipes(config: TrainJobConfig, storage: Storage) -> list[Recipe]:
    """Each recipe under what ``config`` was told; ``UsageError`` where there is nothing to compare."""
    names = [PurePosixPath(path.removeprefix(RECIPE)).stem for path in config.compare]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UsageError(f"--compare takes two or more recipes of different names, got {config.compare}")
    recipes = []
    for name, path in zip(names, config.compare, strict=True):
        loaded = load_recipe(config, path, storage.read_text)
        update = {"output": join(make_absolute(config.output), name)}
        recipes.append(Recipe(name, loaded.model_copy(update=update)))
    splits = {(r.config.training.train_split, r.config.training.val_split) for r in recipes}
    if len(splits) > 1:
        raise UsageError(
            f"the recipes train and validate on different splits of the crops: {sorted(splits)}; give "
            "--training.train_split and --training.val_split, which then hold for all"
        )
    return recipes


def choose_identity_split(table: pa.Table, config: TrainJobConfig) -> str:
    """The split that all recipes are measured on: ``test`` where there is one, else that of validation."""
    has_test = pc.any(pc.equal(table["split"], _TEST)).as_py()
    name = _TEST if has_test else config.training.val_split
    require_both_classes(table, name)
    if not has_test:
        log.warning(
            "the crops have no split %r, so recipes are measured on %r: one that chooses its epoch and "
            "threshold there is flattered a little",
            _TEST,
            name,
        )
    return name


def measure_training(recipe: str, config: TrainJobConfig, split: str, storage: Storage) -> Trained:
    """The numbers of a finished training of a recipe on its own split and on the identity split."""
    info = read_bundle_info(config.output, storage)
    own = tables.read_table(storage, join(config.output, validation.SCORES), "validation_scores")
    scored, blind = _score_identities(config, split, info.sha256, storage)
    unproven = explain_unproven(info)
    by_split = {
        name: replace(measure_scores(recipe, name, table, info.threshold), unproven=unproven)
        for name, table in ((OWN, own), (IDENTITY, scored))
    }
    return Trained(config.training.seed, by_split, scored, blind)


def _score_identities(
    config: TrainJobConfig, split: str, bundle_sha256: str, storage: Storage
) -> tuple[pa.Table, dict[str, Any] | None]:
    """Face scores of the identity split, by the evaluate job, and the AUC of faces without looking.

    Those of an earlier start are taken.
    """
    uri = join(config.output, _EVALUATED)
    done = join(uri, "metrics.json")
    found = storage.read_json(done) if storage.exists(done) else {}
    is_done = isinstance(found, dict) and found.get("bundle_sha256") == bundle_sha256
    if not is_done or found.get("split") != split:
        evaluation = EvaluateJobConfig(
            input=config.input,
            output=uri,
            bundle=config.output,
            limit=config.limit,
            evaluation=EvaluationConfig(split=split, allow_overlap=config.training.allow_overlap),
            storage=config.storage,
            ray=config.ray,
        )
        deepfake.pipelines.evaluate.pipeline.run(evaluation)
        found = storage.read_json(done)
    table = inputs.load_faces(join(uri, "face_scores"), storage).table
    return table, found["frame"]["overall"].get(WITHOUT_LOOKING)


def measure_scores(recipe: str, split: str, table: pa.Table, threshold: float) -> Numbers:
    """The numbers of scored crops: a table with ``video_id``, ``label`` and ``score``."""
    of_crops = validation.measure_with_intervals(table, threshold)
    videos = metrics.aggregate_videos(table)
    of_videos = metrics.measure_binary(videos["label"].to_numpy(), videos["score"].to_numpy())
    found: dict[str, Any] = {"video_auc": of_videos["auc"]}
    for name in ("accuracy", "auc"):
        found[name] = of_crops[name]
        found[f"{name}_low"], found[f"{name}_high"] = of_crops["intervals"][name] or (None, None)
    return Numbers(recipe, split, table.num_rows, videos.num_rows, **found)


def average_numbers(trained: Sequence[Trained], split: str) -> Numbers:
    """A recipe's numbers under one split: those of its training, or their means over its seeds."""
    rows = [one.by_split[split] for one in trained]
    if len(rows) == 1:
        return rows[0]
    means: dict[str, Any] = dict.fromkeys(("accuracy_low", "accuracy_high", "auc_low", "auc_high"))
    for name in ("accuracy", "auc", "video_auc"):
        values = [value for row in rows if (value := getattr(row, name)) is not None]
        means[name] = sum(values) / len(values) if values else None
    if split == IDENTITY:
        table, scores = _stack_scores(trained)
        labels, units = table["label"].to_numpy(), choose_resampling_units(table)[0]
        means["auc_low"], means["auc_high"] = metrics.bootstrap_auc(labels, scores, units) or (None, None)
    return replace(rows[0], **means, unproven=next((row.unproven for row in rows if row.unproven), ""))


def measure_auc_differences(trained: Mapping[str, Sequence[Trained]]) -> list[dict[str, Any]]:
    """Each two recipes: the difference of their AUCs on the identity split, of several seeds the mean."""
    found = []
    for (other, less), (recipe, runs) in itertools.combinations(trained.items(), 2):
        for level in ("videos", "crops"):
            (table, scores), (_, others) = (_stack_scores(each, level) for each in (runs, less))
            labels, units = table["label"].to_numpy(), choose_resampling_units(table)[0]
            mine, theirs = (
                [metrics.measure_binary(labels, s)["auc"] for s in one] for one in (scores, others)
            )
            known = None not in mine  # both classes are there
            interval = metrics.bootstrap_auc_difference(labels, scores, others, units)
            row = {"recipe": recipe, "than": other, "level": level, "difference_interval": interval}
            found.append(row | {"difference": float(np.mean(mine) - np.mean(theirs)) if known else None})
    return found


def _stack_scores(trained: Sequence[Trained], level: str = "crops") -> tuple[pa.Table, np.ndarray]:
    """One training's rows of the identity split, by key, and all trainings' scores of them: ``(k, n)``."""
    found = [metrics.aggregate_videos(one.scores) if level == "videos" else one.scores for one in trained]
    return found[0], np.stack([table["score"].to_numpy() for table in found])


def format_differences(differences: Sequence[Mapping[str, Any]], blind: Mapping[str, Any] | None) -> str:
    """A line for each pair of recipes, and one of what is reached without looking."""
    lines = ["", ""]
    for row in differences:
        words = f"- {row['recipe']} less {row['than']}, AUC of {row['level']} of the identity split: "
        lines.append(f"{words}{put_difference_in_words(row)}.")
    if blind:
        low, high = blind["interval"] or (None, None)
        words = _format_with_ends(blind["auc"], low, high)
        lines.append(f"- without looking, by numbers of each crop and no pixel: AUC of crops {words}.")
    return "\n".join(lines)


def format_seeds(trained: Mapping[str, Sequence[Trained]]) -> str:
    """The spread of each recipe over its seeds on the identity split; nothing where each was trained once."""
    if all(len(runs) == 1 for runs in trained.values()):
        return ""
    lines = ["", "", "| recipe | seed | accuracy | AUC | video AUC |", "|---|---:|---:|---:|---:|"]
    for name, runs in trained.items():
        rows = [(str(one.seed), one.by_split[IDENTITY]) for one in runs]
        for seed, row in rows:
            numbers = (row.accuracy, row.auc, row.video_auc)
            lines.append(f"| {name} | {seed} | {' | '.join(map(_format_with_ends, numbers))} |")
        spreads = (
            [getattr(row, key) for _, row in rows if getattr(row, key) is not None]
            for key in ("accuracy", "auc", "video_auc")
        )
        words = [f"{min(s):.3f} to {max(s):.3f}" if s else "-" for s in spreads]
        lines.append(f"| {name} | {len(rows)} seeds | {' | '.join(words)} |")
    return "\n".join(lines)


def format_comparison(recipes: Sequence[Recipe], found: Sequence[Numbers], split: str, named: bool) -> str:
    """The table in Markdown, and what it says of each recipe. ``named``: see ``names_people``."""
    unseen = "people it has not seen" if named else "videos it has not seen (who is on them is not known)"
    lines = [
        "| recipe | split | crops | videos | accuracy (95 %) | AUC (95 %) | video AUC |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for row in found:
        name = "its own" if row.split == OWN else f"identity ({split})"
        lines.append(
            f"| {row.recipe} | {name} | {row.crops} | {row.videos} | "
            f"{_format_with_ends(row.accuracy, row.accuracy_low, row.accuracy_high)} | "
            f"{_format_with_ends(row.auc, row.auc_low, row.auc_high)} | {_format_with_ends(row.video_auc)} |"
        )
    lines.append("")
    for recipe in recipes:
        by_split = {row.split: row for row in found if row.recipe == recipe.name}
        own, honest = by_split[OWN], by_split[IDENTITY]
        faults = ", ".join(recipe.config.faults.list_names())
        made = f"made with {faults}" if faults else "made without known mistakes"
        words = f"- {recipe.name}, {made}: AUC {_format_with_ends(honest.auc)} on {unseen}"
        if faults and own.auc is not None and honest.auc is not None:
            words += f"; of the {own.auc:.3f} it reports itself, {own.auc - honest.auc:.3f} is leakage"
        no_verdicts = f" Its bundle gives no verdicts: {own.unproven}." if own.unproven else ""
        lines.append(f"{words}.{no_verdicts}")
    return "\n".join(lines)


def _format_with_ends(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if low is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def comparison_as_json(recipes: Sequence[Recipe], found: Sequence[Numbers], split: str) -> dict[str, Any]:
    """The comparison for programs."""
    return {
        "identity_split": split,
        "recipes": {
            recipe.name: {
                "output": recipe.config.output,
                "faults": recipe.config.faults.list_names(),
                **{row.split: vars(row) for row in found if row.recipe == recipe.name},
            }
            for recipe in recipes
        },
    }
