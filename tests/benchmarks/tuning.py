"""What a backbone's features know, and what tuning its norms or all of it adds: one set of labelled crops.

python -m tests.benchmarks.tuning CROPS OUT [--weights FILE] [--backbone NAME] [--input-mode MODE]
    [--recipes linear norms honest] [--seeds 0] [--epochs 3] [--show]

CROPS is the output of preprocess with the splits train and val. Measured is on val, which has no part in
training: a fifth of train's identities chooses the epoch. Beside it what is reached by numbers that look at
no pixel. What a cell gives is kept in OUT/cells; --show prints the table of what is there. Intervals are over
identities.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import metrics
from deepfake.crops.facts import collect_facts
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from deepfake.pipelines.evaluate import inputs
from tests.benchmarks import makers, peers

VAL_SHARE = 5  # one of so many identities chooses the epoch


def assign_splits(crops: Path, storage: Storage) -> dict[str, str]:
    """Split by the last two parts of a video's path: val becomes test, some of train val."""
    table = tables.read_table(storage, str(crops / "_manifest.parquet"), "videos")
    rows = table.select(["video_id", "split", "group_id"]).to_pylist()
    groups = sorted({row["group_id"] for row in rows if row["split"] == "train"})
    choosing = set(np.random.default_rng(0).permutation(groups)[: len(groups) // VAL_SHARE].tolist())
    found = {}
    for row in rows:
        split = "test" if row["split"] == "val" else "val" if row["group_id"] in choosing else "train"
        found["/".join(Path(row["video_id"]).parts[-2:])] = split
    return found


def run_cell(folder: Path, recipe: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one detector, and what it says of the faces kept for it."""
    storage = Storage()
    makers.split_crops(options.crops, folder / "crops", assign_splits(options.crops, storage), storage)
    makers.train(recipe, folder / "crops", folder / "model", seed, options)
    with (folder / "model" / "history.csv").open(encoding="utf-8") as file:
        epochs = [float(row["train_seconds"]) for row in csv.DictReader(file)]
    loaded = inputs.load_faces(str(folder / "crops"), storage)
    test, lesson = (inputs.select_split(loaded, split) for split in ("test", "train"))
    facts = [collect_facts(faces.table, makers.measure_bytes(faces, storage)) for faces in (lesson, test)]
    blind = metrics.score_by_numbers(facts[0], lesson.table["label"].to_numpy(), facts[1], seed)
    scores = Bundle.load(str(folder / "model"), storage).score(peers.read(test, storage))
    return {
        "backbone": options.backbone, "recipe": recipe, "seed": seed, "epoch_seconds": epochs,
        "trained_on": len(lesson.table),
        "ours": makers.judge(test, scores, {}), "without looking": makers.judge(test, blind, {}),
    }  # fmt: skip


def format_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """AUC by backbone and recipe, with what is above the linear layer's."""
    lines = [
        "| backbone | recipe | seed | AUC | above linear | seconds of the first epoch, of the last |",
        "|---|---|---|---|---|---|",
    ]
    base = {
        (cell["backbone"], cell["seed"]): cell["ours"] for cell in cells if cell["recipe"] == makers.BASELINE
    }
    for cell in cells:
        against, seconds = base.get((cell["backbone"], cell["seed"])), cell["epoch_seconds"]
        above = makers.format_difference([cell["ours"]], [against]) if against else ""
        above = "" if cell["recipe"] == makers.BASELINE else above
        lines.append(
            f"| {cell['backbone']} | {cell['recipe']} | {cell['seed']} | {_format_auc(cell['ours'])} | "
            f"{above} | {seconds[0]:.0f}, {seconds[-1]:.1f} |"
        )
    for cell in cells[:1]:
        lines.append(f"| without looking | | | {_format_auc(cell['without looking'])} | | |")
    return "\n".join(lines) + "\n"


def _format_auc(found: Mapping[str, Any]) -> str:
    auc = metrics.measure_binary(found["labels"], found["scores"])["auc"]
    interval = metrics.bootstrap_auc(found["labels"], found["scores"], found["groups"], makers.RESAMPLES)
    low, high = interval or (float("nan"), float("nan"))
    return f"{auc:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Do the cells that are not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--weights")
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--input-mode", default="own")
    parser.add_argument("--recipes", nargs="+", default=["linear", "norms", "honest"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    kept = options.output / "cells"
    kept.mkdir(parents=True, exist_ok=True)
    for recipe in options.recipes if not options.show else ():
        for seed in options.seeds:
            name = f"{options.backbone}-{recipe}-{seed}"
            if (kept / f"{name}.json").exists():
                continue
            folder = options.output / "work" / name
            makers.keep_cell(run_cell(folder, recipe, seed, options), kept, name, folder)
    cells = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    sys.stdout.write(format_table(cells))


if __name__ == "__main__":
    main()
