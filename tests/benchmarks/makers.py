"""How well a detector tells fakes by makers, and of people, that it was not trained on.

python -m tests.benchmarks.makers DATA OUT --yunet FILE [--weights FILE] [--backbone NAME] [--input-mode MODE]
    [--mesonet FOLDER] [--recipes honest sbi mix linear norms] [--seeds 0 1 2] [--epochs 6] [--show]

DATA holds clips and videos.csv: path, label, generator, pair_of, subject. Programs of one family are one
maker; makers with fewer than five fakes are one group. For each of the four largest makers, each recipe and
each seed a cell: that maker's fakes, all clips of the people on them and a third of the people who are in no
fake are kept for testing; a fifth of the others chooses the epoch. Measured are that maker's fakes and all
reals kept. What a cell gives is kept in OUT/cells, so that the same command goes on after a stop; --show
prints the table of what is there, and how much each detector's AUC is above that of the linear layer on the
same backbone (recipe linear). Intervals are over people.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake import metrics
from deepfake.crops.facts import collect_facts
from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from deepfake.pipelines.evaluate import inputs
from tests import running
from tests.benchmarks import mesonet, peers
from tests.running import ROOT

FAMILIES = {"wav2lip": "Wav2Lip", "facefusion": "FaceFusion", "motion co-segmentation": "co-segmentation"}
FEWEST, OTHERS, LARGEST = 5, "others", 4
TEST_SHARE, VAL_SHARE = 3, 5  # one of so many people
RESAMPLES = 2000
BASELINE = "linear"
MIX = ("--augment.fakes", "mix")
Rows = list[dict[str, str]]


def read_clips(data: Path) -> Rows:
    """Rows of videos.csv, with ``maker``: of fakes their family or group, of reals empty."""
    with (data / "videos.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        found = [name for word, name in FAMILIES.items() if word in row["generator"].lower()]
        row["maker"] = found[0] if found else row["generator"]
    counts = Counter(row["maker"] for row in rows if row["label"] == "fake")
    for row in rows:
        if row["label"] == "fake" and counts[row["maker"]] < FEWEST:
            row["maker"] = OTHERS
    return rows


def list_largest(clips: Rows) -> list[str]:
    """The makers that are left out, the largest first."""
    counts = Counter(row["maker"] for row in clips if row["label"] == "fake")
    return [maker for maker, _ in counts.most_common() if maker != OTHERS][:LARGEST]


def assign_splits(clips: Rows, maker: str) -> dict[str, str]:
    """Split by path; nobody is in two, and of the left-out maker nothing is in training."""
    people: dict[str, set[str]] = {}
    for row in clips:
        people.setdefault(row["subject"], set()).add(row["maker"])
    random = np.random.default_rng(0)
    order = [str(name) for name in random.permutation(sorted(people))]
    split = {name: "test" for name in order if maker in people[name]}
    unfaked = [name for name in order if people[name] == {""} and name not in split]
    split |= dict.fromkeys(unfaked[::TEST_SHARE], "test")
    for kinds in ({""}, None):  # reals alone, and people with fakes, each in proportion
        left = [name for name in order if name not in split and (kinds is None or people[name] == kinds)]
        split |= {name: "val" if at % VAL_SHARE == 0 else "train" for at, name in enumerate(left)}
    return {row["path"]: split[row["subject"]] for row in clips}


def preprocess(data: Path, output: Path, yunet: str, clips: Rows) -> Path:
    """The crops of all clips, once."""
    crops = output / "crops"
    if not (crops / "_manifest.parquet").exists():
        output.mkdir(parents=True, exist_ok=True)
        manifest = output / "manifest.csv"
        with manifest.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", "method", "target_id"])
            for row in clips:
                writer.writerow(
                    [(data / row["path"]).resolve(), row["label"], row["maker"] or "real", row["subject"]]
                )
        words = running.command(
            "preprocess", "--input", manifest, "--output", crops, "--detector.yunet_model", yunet,
            "--detector.name", "yunet",
        )  # fmt: skip
        subprocess.run(words, env=running.environment(), cwd=ROOT, check=True, stdout=sys.stderr)
    return crops


def split_crops(crops: Path, folder: Path, splits: Mapping[str, str], storage: Storage) -> None:
    """The same crops with other splits; ``splits`` by the end of the video's path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(crops / "_config.json", folder)
    for name, uri in [("videos", str(crops / "_manifest.parquet"))] + [
        ("crops", uri) for uri in list_part_files(str(crops), storage)
    ]:
        table = tables.read_table(storage, uri, name)
        named = [splits["/".join(Path(video).parts[-2:])] for video in table["video_id"].to_pylist()]
        place = table.schema.get_field_index("split")
        table = table.set_column(place, table.schema.field(place), pa.array(named, table["split"].type))
        tables.write_table(storage, str(folder / Path(uri).name), table, 64)


def train(recipe: str, crops: Path, output: Path, seed: int, options: argparse.Namespace) -> float:
    """Seconds that it took."""
    words = running.command(
        "train", "--config", ROOT / "configs/recipes" / f"{'honest' if recipe == 'mix' else recipe}.yaml",
        "--input", crops, "--output", output, "--training.seed", seed, "--training.epochs", options.epochs,
        "--model.backbone", options.backbone, "--model.input_mode", options.input_mode,
        "--ray.start", "never",
        *(MIX if recipe == "mix" else ()),
        *(("--model.weights", options.weights) if options.weights else ()),
    )  # fmt: skip
    began = time.monotonic()
    subprocess.run(words, env=running.environment(), cwd=ROOT, check=True, stdout=sys.stderr)
    return time.monotonic() - began


def judge(faces: inputs.LabelledFaces, scores: np.ndarray, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Labels, groups and scores of videos, and in how many pairs the fake is above its original."""
    table = faces.table.drop_columns([name for name in ("score",) if name in faces.table.column_names])
    videos = metrics.aggregate_videos(table.append_column("score", pa.array(scores)))
    names = ["/".join(Path(video).parts[-2:]) for video in videos["video_id"].to_pylist()]
    by_name = dict(zip(names, videos["score"].to_pylist(), strict=True))
    both = [(by_name[fake], by_name[real]) for fake, real in pairs.items() if {fake, real} <= by_name.keys()]
    return {
        "labels": videos["label"].to_pylist(),
        "groups": videos["group_id"].to_pylist(),
        "scores": videos["score"].to_pylist(),
        "pairs": len(both),
        "pairs_won": sum(fake > real for fake, real in both),
    }


def run_cell(
    folder: Path, maker: str, recipe: str, seed: int, clips: Rows, crops: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Train one detector, and what it says of the clips left out; beside it what looks at no pixel says."""
    storage = Storage()
    split_crops(crops, folder / "crops", assign_splits(clips, maker), storage)
    seconds = train(recipe, folder / "crops", folder / "model", seed, options)
    loaded = inputs.load_faces(str(folder / "crops"), storage)
    test, lesson = (inputs.select_split(loaded, split) for split in ("test", "train"))
    measured = pc.is_in(test.table["method"], pa.array([maker, "real"]))
    test = replace(test, table=test.table.filter(measured).combine_chunks())
    pairs = {row["path"]: row["pair_of"] for row in clips if row["pair_of"]}
    pixels = peers.read(test, storage)
    found = {"ours": Bundle.load(str(folder / "model"), storage).score(pixels)}
    facts = [collect_facts(faces.table, measure_bytes(faces, storage)) for faces in (lesson, test)]
    found["without looking"] = metrics.score_by_numbers(
        facts[0], lesson.table["label"].to_numpy(), facts[1], seed
    )
    for path in sorted(Path(options.mesonet).glob("*.h5")) if options.mesonet else []:
        found[path.stem] = mesonet.load(path)(pixels)
    shown = pc.value_counts(lesson.table["method"]).to_pylist()
    return {
        "maker": maker, "recipe": recipe, "seed": seed, "seconds": round(seconds),
        "backbone": options.backbone, "epochs": options.epochs,
        "trained_on": {row["values"]: row["counts"] for row in shown},
        "detectors": {name: judge(test, scores, pairs) for name, scores in found.items()},
    }  # fmt: skip


def measure_bytes(faces: inputs.LabelledFaces, storage: Storage) -> np.ndarray:
    """Bytes ``(n,)`` of the stored crops, in the order of ``faces.table``."""
    sizes = [
        pc.binary_length(tables.read_table(storage, uri, "crops", ["crop"])["crop"]).to_numpy()
        for uri in faces.files
    ]
    groups = [np.cumsum([0, *count_rows(uri, storage)]) for uri in faces.files]
    places = faces.table.select(["file", "row_group", "row"]).to_pylist()
    return np.array([sizes[p["file"]][groups[p["file"]][p["row_group"]] + p["row"]] for p in places])


def count_rows(uri: str, storage: Storage) -> list[int]:
    """Rows of each row group of a crops file."""
    with tables.open_table(storage, uri, "crops") as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def format_table(cells: Sequence[Mapping[str, Any]], makers: Sequence[str]) -> str:
    """AUC of videos by maker left out and detector, the mean of the seeds; what is missing is empty."""
    lines = [
        "| left out | detector | seeds | AUC, videos | by seed | pairs won | above linear |",
        "|---|---|---|---|---|---|---|",
    ]
    for maker in makers:
        mine = [cell for cell in cells if cell["maker"] == maker]
        ours: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for cell in mine:
            ours.setdefault((cell["backbone"], cell["recipe"]), []).append(cell["detectors"]["ours"])
        for (backbone, recipe), runs in ours.items():
            lines.append(_format_row(maker, f"{backbone}, {recipe}", runs))
            if recipe != BASELINE and len(base := ours.get((backbone, BASELINE), [])) == len(runs):
                lines[-1] += f" {format_difference(runs, base)} |"
        for name in [name for cell in mine[:1] for name in cell["detectors"] if name != "ours"]:
            lines.append(_format_row(maker, name, [mine[0]["detectors"][name]]))
        if not mine:
            lines.append(f"| {maker} | | 0 | | | |")
    return "\n".join(lines) + "\n"


def _format_row(maker: str, name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    labels, groups = runs[0]["labels"], runs[0]["groups"]
    scores = np.array([run["scores"] for run in runs])
    each = [metrics.measure_binary(labels, row)["auc"] for row in scores]
    low, high = metrics.bootstrap_auc(labels, scores, groups, RESAMPLES) or (float("nan"), float("nan"))
    won = ", ".join(str(run["pairs_won"]) for run in runs)
    fakes = f"{maker}, {sum(labels)} fakes, {len(labels) - sum(labels)} reals"
    return (
        f"| {fakes} | {name} | {len(runs)} | {np.mean(each):.3f} ({low:.2f} to {high:.2f}) | "
        f"{', '.join(f'{auc:.3f}' for auc in each)} | {won} of {runs[0]['pairs']} |"
    )


def format_difference(runs: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> str:
    """How much the mean AUC of runs is above that of others on the same videos, with its interval."""
    labels, groups = runs[0]["labels"], runs[0]["groups"]
    scores, others = (np.array([run["scores"] for run in some]) for some in (runs, base))
    aucs = [
        np.mean([metrics.measure_binary(labels, row)["auc"] for row in some]) for some in (scores, others)
    ]
    interval = metrics.bootstrap_auc_difference(labels, scores, others, groups, RESAMPLES)
    low, high = interval or (float("nan"), float("nan"))
    return f"{aucs[0] - aucs[1]:+.3f} ({low:+.2f} to {high:+.2f})"


def keep_cell(cell: Mapping[str, Any], kept: Path, name: str, folder: Path) -> None:
    """Write what a cell gave, whole or not at all, and remove the ``folder`` that it worked in."""
    (kept / f"{name}.part").write_text(json.dumps(cell))
    (kept / f"{name}.part").rename(kept / f"{name}.json")
    shutil.rmtree(folder)


def main() -> None:
    """Do the cells that are not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--yunet", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--input-mode", default="own")
    parser.add_argument("--mesonet")
    parser.add_argument("--recipes", nargs="+", default=["honest", "sbi", "mix"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    clips = read_clips(options.data)
    makers = list_largest(clips)
    kept = options.output / "cells"
    kept.mkdir(parents=True, exist_ok=True)
    for recipe in options.recipes if not options.show else ():
        for seed in options.seeds:
            for maker in makers:
                name = f"{options.backbone}-{recipe}-{maker.split(' ')[0].strip('/')}-{seed}"
                if (kept / f"{name}.json").exists():
                    continue
                crops = preprocess(options.data, options.output, options.yunet, clips)
                folder = options.output / "work" / name
                cell = run_cell(folder, maker, recipe, seed, clips, crops, options)
                keep_cell(cell, kept, name, folder)
                sys.stderr.write(f"{name}: done in {cell['seconds']} s\n")
    cells = [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))]
    sys.stdout.write(format_table(cells, makers))


if __name__ == "__main__":
    main()
