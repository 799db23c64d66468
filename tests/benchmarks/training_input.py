"""Processor time a crop of training's input: each epoch from PNG, and with decoded crops kept, in turn.

python -m tests.benchmarks.training_input CROPS [--rounds 3] [--steps 60]

One thread reads, decodes and augments batches of 32 as ``jobs/train.py`` does by default; nothing learns.
Processor time, so that it means something on a machine that does other things, too.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

from deepfake.config import CropConfig, TrainJobConfig
from deepfake.crops import dataset
from deepfake.io.run_record import parse_section
from deepfake.io.storage import Storage
from deepfake.model.network import INPUT_SIZE
from deepfake.training.data import loader
from deepfake.training.data.epoch_plan import plan_training_epoch
from deepfake.training.data.pixel_cache import PixelCache


def measure(source: loader.Source, config: TrainJobConfig, epoch: int, steps: int | None) -> float:
    """Milliseconds of processor time a crop, over the first steps of an epoch, or all."""
    plan = plan_training_epoch(source.rows, config, epoch)
    stream = loader.BatchStream(source, plan, plan.cut_share(0, 1), epoch, loader.LoaderThread())
    started = time.process_time()
    crops = sum(len(batch.inputs) for batch in islice(stream, steps))
    return 1000 * (time.process_time() - started) / crops


def main() -> None:
    """Measure, and print a line a round and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crops", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    chosen = parser.parse_args()
    storage = Storage()
    crops = dataset.open_crops(chosen.crops, storage)
    rows = dataset.select_rows(crops, "train")
    config = TrainJobConfig(input=chosen.crops, output="unused")
    cut = parse_section(crops.config, "crop", CropConfig) or CropConfig()
    plain = loader.Source(crops.files, rows, storage, config.augment, 0, cut)
    with tempfile.TemporaryDirectory() as folder:
        side = INPUT_SIZE + 2 * cut.surround
        kept = replace(plain, cache=PixelCache(Path(folder), "train", len(rows), side, 10**12))
        sys.stdout.write(f"first epoch, which keeps: {measure(kept, config, 0, None):.2f} ms a crop\n")
        found = []
        for epoch in range(1, chosen.rounds + 1):
            found.append([measure(source, config, epoch, chosen.steps) for source in (plain, kept)])
            sys.stdout.write("from PNG {:.2f}, kept {:.2f}\n".format(*found[-1]))
        size = sum(file.stat().st_blocks * 512 for file in Path(folder).iterdir())
        from_png, from_disk = (statistics.median(column) for column in zip(*found, strict=True))
        ratio = from_disk / from_png
        sys.stdout.write(f"medians {from_png:.2f} and {from_disk:.2f} ms: {ratio:.2f}; {size / 1e9:.2f} GB\n")


if __name__ == "__main__":
    main()
