"""Bundles of ours and the published MesoNet detectors on the same crops, in one table.

python -m tests.benchmarks.peers --crops OUT/crops [--crops ...] --bundle OUT/model [--bundle ...]
    --mesonet FOLDER [--split test] [--output table.md]

Crops as jobs/preprocess.py leaves them. A detector's score of a video is the mean of its faces'. Intervals
are 95 % bootstraps over identities. MesoNet's authors cut faces closer than our crops are, so it is shown the
crops as they are and their middles too, --mesonet-crop of the side.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake import metrics
from deepfake.crops.reader import decode_crop
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from deepfake.pipelines.evaluate import inputs, training_overlap
from tests.benchmarks import mesonet

RESAMPLES = 2000
Scorer = Callable[[np.ndarray], np.ndarray]


def main(argv: Sequence[str] | None = None) -> None:
    """Read, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crops", action="append", required=True)
    parser.add_argument("--bundle", action="append", default=[])
    parser.add_argument("--mesonet", type=Path)
    parser.add_argument("--mesonet-crop", type=float, default=0.75)
    parser.add_argument("--split", default="all")
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args(argv)
    storage = Storage()
    bundles = [Bundle.load(uri, storage) for uri in chosen.bundle]
    scorers: dict[str, Scorer] = {f"ours, {Path(b.uri).name}": b.score for b in bundles}
    for path in sorted(chosen.mesonet.glob("*.h5")) if chosen.mesonet else []:
        scorers[f"MesoNet, {path.stem}"] = mesonet.load(path)
        scorers[f"MesoNet, {path.stem}, closer"] = mesonet.load(path, chosen.mesonet_crop)
    found: dict[str, Any] = {}
    text = ""
    for uri in chosen.crops:
        loaded = inputs.load_faces(uri, storage)
        selected = inputs.select_split(loaded, chosen.split)
        for bundle in bundles:
            for warning in training_overlap.check_training_overlap(
                selected.table, bundle.info, loaded.table, chosen.split, allowed=True
            ):
                print(f"{bundle.uri} on {uri}: {warning}")
        crops = read(selected, storage)
        found[uri] = {name: numbers(selected.table, score(crops)) for name, score in scorers.items()}
        text += table(uri, found[uri])
    print(text)
    if chosen.output:
        chosen.output.write_text(text)
        chosen.output.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")


def read(faces: inputs.LabelledFaces, storage: Storage) -> np.ndarray:
    """The crops ``(n, 224, 224, 3) uint8 RGB`` in the order of ``faces.table``."""
    stored = []
    for uri in faces.files:
        with storage.open(uri) as source:
            file = pq.ParquetFile(source)
            stored.append(
                [file.read_row_group(g, columns=["crop"])["crop"] for g in range(file.num_row_groups)]
            )
    places = faces.table.select(["file", "row_group", "row"]).to_pylist()
    return np.stack([decode_crop(stored[p["file"]][p["row_group"]][p["row"]].as_py(), 224) for p in places])


def numbers(faces: pa.Table, scores: np.ndarray) -> dict[str, Any]:
    """Video and face numbers of one detector; its threshold is one half, the one that it comes with."""
    scored = faces.select([n for n in faces.column_names if n != "score"]).append_column(
        "score", pa.array(scores)
    )
    videos = metrics.aggregate_videos(scored)
    y, s = videos["label"].to_numpy(), videos["score"].to_numpy()
    groups = [
        g or v for g, v in zip(videos["group_id"].to_pylist(), videos["video_id"].to_pylist(), strict=True)
    ]
    of_videos = metrics.measure_binary(y, s)
    return {
        "videos": of_videos,
        "intervals": metrics.bootstrap_metrics(y, s, groups, 0.5, RESAMPLES),
        "identities": len(set(groups)),
        "faces": metrics.measure_binary(scored["label"].to_numpy(), scores),
    }


def table(uri: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table of the detectors on one set of crops."""
    first = next(iter(rows.values()))
    lines = [
        f"{Path(uri).name}: {first['videos']['n_real']} real and {first['videos']['n_fake']} fake videos of "
        f"{first['identities']} identities, {first['faces']['n']} faces. Small: the intervals say how little "
        "it tells.",
        "",
        "| detector | AUC, videos | balanced accuracy at 0.5 | EER | AUC, faces |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = [
            _cell(row, "auc"),
            _cell(row, "balanced_accuracy"),
            _cell(row, "eer"),
            f"{row['faces']['auc']:.3f}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n"


def _cell(row: Mapping[str, Any], name: str) -> str:
    interval = row["intervals"][name]
    value = f"{row['videos'][name]:.3f}"
    return f"{value} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else value


if __name__ == "__main__":
    main()
