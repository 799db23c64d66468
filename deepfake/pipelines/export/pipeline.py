"""The export job: a bundle's network in another format, compared with it on crops, and ``export.json``."""

import json
import logging
import time
from typing import Any

import numpy as np

from deepfake.config import ExportJobConfig
from deepfake.crops import dataset, reader
from deepfake.errors import JobError, UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join, make_absolute
from deepfake.model import export, inference
from deepfake.model.bundle import Bundle
from deepfake.outcome import Outcome
from deepfake.video.sampling import spread_evenly

log = logging.getLogger(__name__)

FILE = "export.json"


def run(config: ExportJobConfig) -> Outcome:
    """Do the whole job.

    Raises ``UsageError`` where bundle, crops or what writes the format cannot be had, and ``JobError`` where
    the exported network gives other scores; then nothing is left of it.
    """
    storage = Storage(config.storage)
    bundle = Bundle.load(make_absolute(config.bundle), storage, batch_size=1)
    export.require_modules(config.format)
    crops, compared_on = choose_comparison_crops(config, bundle, storage)
    output = make_absolute(config.output)
    size = bundle.crop_size
    plan: dict[str, Any] = {
        "bundle": bundle.uri,
        "format": config.format,
        "compared_on": compared_on,
        "crops": len(crops),
        "output": output,
    }
    if config.dry_run:
        return Outcome(plan)
    with lock.hold(output, storage), make_temporary_folder() as folder:
        path = export.export_network(bundle, config.format, folder)
        measured = compare(bundle, export.FORMATS[config.format].start(path), crops)
        if (difference := measured["largest_difference"]) > inference.TOLERANCE:
            raise JobError(
                f"{config.format}: scores differ from the bundle's by up to {difference:.2g}, more than "
                f"{inference.TOLERANCE:g}; nothing is left of it"
            )
        storage.upload_folder(folder, output)
        facts = {
            **plan,
            "file": path.name,
            "takes": f"crops (n, {size}, {size}, 3) uint8 RGB, cut as bundle.json says",
            "gives": "(n, 1) scores in [0, 1], 1 for fake",
            "bundle_sha256": bundle.sha256,
            "threshold": bundle.info.threshold,
            "versions": bundle.info.versions,
            **measured,
        }
        storage.write_text(join(output, FILE), json.dumps(facts, indent=2) + "\n")
    return Outcome({**plan, "file": path.name, **measured}, look_at=[join(output, FILE)])


def choose_comparison_crops(
    config: ExportJobConfig, bundle: Bundle, storage: Storage
) -> tuple[np.ndarray, str]:
    """``(n, size, size, 3) uint8`` crops to compare on, and what they are.

    Evenly taken from the labelled ones of a split; without an input pictures made for it, which are no faces.
    """
    size = bundle.crop_size
    if config.input is None:
        return inference.make_probes(size), "made pictures; --input CROPS compares on validation crops"
    found = dataset.open_crops(make_absolute(config.input), storage)
    bundle.require_size(found.crop_size, found.uri)
    rows = dataset.select_labelled(found.table, config.split)
    if not len(rows):
        raise UsageError(f"{config.input}: no labelled crops of split {config.split!r}; see --split")
    chosen = spread_evenly(len(rows), config.crops)
    places = reader.list_places(rows.take(chosen), found.files)
    stored = reader.read_crops(places, storage)
    pictures = [reader.decode_crop(stored[place].encoded, size, stored[place].sample_id) for place in places]
    return np.stack(pictures), f"crops of split {config.split} of {config.input}"


def compare(bundle: Bundle, run: export.Run, crops: np.ndarray) -> dict[str, float]:
    """The largest difference of a score of crops ``(n, size, size, 3) uint8``, and both rates, in turn."""
    run(crops[:1]), bundle.score(crops[:1])  # what is made at the first call is no crop's cost
    ours, theirs = np.empty(len(crops)), np.empty(len(crops))
    seconds = [0.0, 0.0]
    for i in range(len(crops)):
        for place, (scores, score) in enumerate(((ours, bundle.score), (theirs, run))):
            began = time.perf_counter()
            scores[i] = score(crops[i : i + 1])[0]
            seconds[place] += time.perf_counter() - began
    together = run(crops)
    return {
        "largest_difference": float(max(np.abs(ours - theirs).max(), np.abs(ours - together).max())),
        "crops_a_second": round(len(crops) / seconds[1], 1),
        "crops_a_second_of_keras": round(len(crops) / seconds[0], 1),
    }
