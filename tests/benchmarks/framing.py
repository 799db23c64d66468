"""What the place of faces in their frames tells of the labels, before and after training hides it.

python -m tests.benchmarks.framing CROPS [CROPS ...]

For each folder of crops: how well labels are told, by the leak check's own probe, from how stored crops were
moved and made smaller at the edges of their frames, and from where faces lie in what training shows, with
``augment.match_framing`` and without. 0.5 tells nothing; below it is chance, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.identity_overlap import read_identity_groups
from deepfake.config import AugmentConfig, CropConfig, LeakcheckConfig
from deepfake.crops.augmentation import draw_changes, place_window
from deepfake.crops.framing import find_framing, measure_rooms
from deepfake.faces.cropping import place_square
from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.run_record import parse_section, read_record
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck.probe_features import Samples
from deepfake.pipelines.leakcheck.probes import run_probes

COLUMNS = [
    "video_id", "frame_index", "face_index", "box", "landmarks", "frame_width", "frame_height", "label",
    "group_id", "target_id", "source_id", "padded", "shift", "shrink",
]  # fmt: skip


def read_crops(uri: str, storage: Storage) -> tuple[pa.Table, CropConfig]:
    """Labelled crops of all splits, sorted by video, and how they were cut."""
    parts = [tables.read_table(storage, part, "crops", COLUMNS) for part in list_part_files(uri, storage)]
    table = pa.concat_tables(parts)
    cut = parse_section(read_record(uri, storage) or {}, "crop", CropConfig)
    return table.filter(pc.is_valid(table["label"])).sort_by("video_id").combine_chunks(), cut or CropConfig()


def show(table: pa.Table, cut: CropConfig, matched: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """Where faces lie in what one epoch shows: how far off the window's middle, and its side, in box sides.

    By names that the probe knows.
    """
    rooms, random = measure_rooms(table), np.random.default_rng(seed)
    labels = table["label"].to_numpy()
    others = [np.flatnonzero(labels != label) for label in (0, 1)]
    size = cut.size + 2 * cut.surround
    found = []
    for row, label in zip(table.to_pylist(), labels, strict=True):
        box = tuple(row["box"][name] for name in ("x", "y", "w", "h"))
        frame, landmarks = (row["frame_height"], row["frame_width"]), row["landmarks"]
        other = list(rooms[random.choice(others[label])]) if matched else None
        framing = find_framing(size, box, landmarks, frame, cut, other)
        name = f"{row['video_id']}#{row['frame_index']}#{row['face_index']}"
        centre, side = place_window(draw_changes(AugmentConfig(), seed, 0, name), cut.size, framing)
        box_side = max(box[2:]) * cut.size / place_square(box, frame, cut, landmarks).side
        found.append([*(centre - framing.centre) / box_side, side / box_side])
    return dict(zip(("box_x", "box_y", "box_side"), np.array(found).T, strict=True))


def probe(table: pa.Table, values: Mapping[str, np.ndarray]) -> str:
    """AUC and its interval, of all numbers together."""
    label = table["label"].to_numpy().astype(np.int8)
    video, group = (
        np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
        for names in (table["video_id"].to_pylist(), read_identity_groups(table))
    )
    together = run_probes(Samples(dict(values), label, video, group), LeakcheckConfig())[0]
    if together.auc is None:
        return f"not measured: {together.reason}"
    return f"{together.auc:.3f} ({together.low:.3f} to {together.high:.3f})"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("crops", nargs="+")
    storage = Storage()
    sys.stdout.write(
        "| crops | as stored | training, frames as they are | training, matched |\n|---|---|---|---|\n"
    )
    for uri in parser.parse_args().crops:
        table, cut = read_crops(uri, storage)
        stored = {name: table[name].to_numpy().astype(np.float64) for name in ("padded", "shift", "shrink")}
        cells = [probe(table, values) for values in (stored, show(table, cut, False), show(table, cut, True))]
        sys.stdout.write(f"| {uri}, {table.num_rows} crops | {' | '.join(cells)} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
