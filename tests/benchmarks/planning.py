"""Seconds and memory that a job needs to plan a manifest of so many videos; asserts nothing.

python -m tests.benchmarks.planning [VIDEOS]

The manifest is Parquet, as an archive would keep it: a path, a size, nothing else. Each line of the table is
one step of what `jobs/preprocess.py` does before the first video is opened.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepfake.catalog import duplicates
from deepfake.catalog.load import load_catalog
from deepfake.config import CatalogConfig
from deepfake.execution import planning, work_units
from deepfake.io.storage import Storage

BATCH = 1_000_000


def write_manifest(path: Path, videos: int) -> None:
    """Sizes are log-normal around 10 MB and, as in any archive, a few are equal."""
    random = np.random.default_rng(0)
    schema = pa.schema([("path", pa.string()), ("size_bytes", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, videos, BATCH):
            count = min(BATCH, videos - start)
            numbers = pa.array(np.arange(start, start + count))
            folder = pc.cast(pc.divide(numbers, 1000), pa.string())
            name = pc.binary_join_element_wise(folder, pc.cast(numbers, pa.string()), "/")
            sizes = np.exp(random.normal(np.log(1e7), 1.0, count)).astype(np.int64)
            columns = [pc.binary_join_element_wise(name, ".mp4", ""), pa.array(sizes)]
            writer.write_table(pa.table(columns, schema=schema))


def steps(path: Path) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Each step by its name; what it returns is kept for the next under that name."""
    return {
        "catalog": lambda _: load_catalog(str(path), CatalogConfig(), Storage()),
        "missing": lambda made: planning.select_missing(made["catalog"], None),
        "suspects": lambda made: duplicates.list_suspects(made["missing"], None),
        "separate": lambda made: duplicates.separate_duplicates(made["missing"], None, {})[0],
        "units": lambda made: work_units.plan_units(made["separate"], "0" * 64),
    }


def main() -> None:
    """Print the table."""
    videos = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "archive.parquet")
        write_manifest(path, videos)
        rows = [f"{videos} videos, a manifest of {path.stat().st_size / 2**20:.0f} MiB"]
        rows.append(f"{'step':<10} {'seconds':>8} {'peak GiB':>9}")
        made: dict[str, Any] = {}
        for name, step in steps(path).items():
            started = time.perf_counter()
            made[name] = step(made)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            rows.append(f"{name:<10} {time.perf_counter() - started:8.1f} {peak:9.2f}")
            sys.stderr.write(rows[-1] + "\n")
        rows.append(f"{len(made['units'])} units")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
