"""The training job: check the crops, run Ray Train, write the bundle.

The worker's side is ``deepfake.training.trainer``. Checkpoints live below ``<output>/_checkpoints`` while the
job is unfinished; started again with the same output and configuration, it goes on from the last one.
"""

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.duplicates import require_no_duplicates
from deepfake.catalog.identity_overlap import (
    list_identities,
    names_people,
    require_both_classes,
    require_disjoint,
)
from deepfake.config import (
    CropConfig,
    DetectorConfig,
    SamplingConfig,
    TrainJobConfig,
    hash_config,
    hash_json,
)
from deepfake.crops import dataset
from deepfake.crops.dataset import CropSet, Rows
from deepfake.errors import UsageError
from deepfake.execution import accounting, session
from deepfake.execution.output import describe_changes
from deepfake.execution.process import count_cpus
from deepfake.io import lock
from deepfake.io.parts import read_output_manifest
from deepfake.io.run_record import RECORD_FILE, parse_section
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join, make_absolute
from deepfake.model import bundle, inference, keras_runtime, model_card
from deepfake.model.backbones import check_backbone
from deepfake.model.bundle import BUNDLE_FILE, BundleInfo, InputContract
from deepfake.model.initialisation import hash_weights, read_starting_bundle
from deepfake.model.network import INPUT_SIZE, NO_FILE, check_weights
from deepfake.model.validation_data import describe_validation
from deepfake.model.verdicts import explain_unproven
from deepfake.outcome import ACCOUNTING, Outcome
from deepfake.pipelines.train import plots, starting_bundle
from deepfake.training import faults, validation
from deepfake.training.callbacks import MakeCallbacks
from deepfake.training.checkpoint import STATE_FILE, require_own
from deepfake.training.data.balancing import CropKind
from deepfake.training.data.epoch_plan import EpochPlan, plan_training_epoch
from deepfake.training.data.features import can_keep_features
from deepfake.training.history import write_history
from deepfake.training.ray_train import Run, prepare_environment, run_workers
from deepfake.training.schedule import plan_phases
from deepfake.training.task import TrainingTask
from deepfake.training.trackers import Trackers, require_trackers
from deepfake.training.trainer import train_here, train_worker

log = logging.getLogger(__name__)

Sections = dict[str, dict[str, Any]]

CHECKPOINTS = "_checkpoints"
# Up to so many seconds of one core a training of one worker is done in the job's own process. It takes no
# longer there, however much it is: what a long one would lose is a worker that is started again when it dies.
SMALL_SECONDS = 600.0
SECONDS_PER_CROP = (
    0.1  # of one core, to learn from one of 224 pixels: rough, see ``deepfake.training.resources``
)
_RUN_FILE = "run.json"
UNNAMED = (
    "nothing says who is on these videos: each is taken for a person of its own, so the same people may be "
    "in training and validation and flatter the numbers; a manifest with target_id says who it is"
)
# Where and how fast training runs, not what comes out; a run may go on with other values.
_FREE_KEYS = (
    "workers", "use_gpu", "threads_per_worker", "cache_gb", "checkpoint_minutes", "max_failures", "resume",
    "allow_overlap",
)  # fmt: skip


def run(config: TrainJobConfig, callbacks: MakeCallbacks | None = None) -> Outcome:
    """Train on a crops folder and leave a model bundle.

    ``callbacks`` makes Keras callbacks of the caller's own, anew on each worker. They see global values. Of
    their attributes, numbers and strings outlive a restart.
    """
    ledger = accounting.open_ledger()
    ledger.job.enter("plan")
    storage = Storage(config.storage)
    config = _make_uris_absolute(config)
    check_backbone(config.model, config.training)
    crops = dataset.open_crops(config.input, storage, config.limit)
    rows = select_checked_rows(crops, config)
    start = read_starting_bundle(config.model, storage, crops.crop_size)
    if start is not None and not config.training.allow_overlap:
        starting_bundle.require_unseen(
            start, crops.table, (config.training.train_split, config.training.val_split)
        )
    plan = describe_training(rows, config)
    faults.warn_of_faults(config.faults)
    if config.model.weights == "none" and config.training.freeze_batch_norm:
        log.warning(
            "--model.weights none with --training.freeze_batch_norm true: a backbone of random weights keeps "
            "random statistics, and learns little; give --training.freeze_batch_norm false"
        )
    if config.dry_run:
        return Outcome(plan)
    with lock.hold(config.output, storage) as mine:
        return _train(config, storage, crops, rows, plan, mine, callbacks, start, ledger)


def _train(
    config: TrainJobConfig,
    storage: Storage,
    crops: CropSet,
    rows: Mapping[str, Rows],
    plan: dict[str, Any],
    mine: lock.Lock,
    callbacks: MakeCallbacks | None,
    start: BundleInfo | None,
    ledger: accounting.Ledger,
) -> Outcome:
    data_sha256 = crops.hash_crops()
    require_trackers(config)
    if start is None:
        check_weights(config.model, storage, crops.crop_size)
    sections = _dump_sections(config, hash_weights(config.model, storage))
    identity = hash_run(config, data_sha256, sections)
    if _claim(config, storage, identity, sections):
        log.info("%s: this very training is finished already", config.output)
        return make_outcome(bundle.read_bundle_info(config.output, storage), plan, config)
    prepare_environment(config.training)
    settings = config.training
    run = Run(identity[:16], join(config.output, CHECKPOINTS), settings)
    require_own(join(run.checkpoints, run.name), storage)
    cut = parse_section(crops.config, "crop", CropConfig)
    faces = validation.collect_faces(crops, rows["val"], settings.split_seed)
    videos = validation.number_choosing_videos(faces)
    task = TrainingTask(config, crops.files, rows["train"], rows["val"], videos, cut, callbacks)
    told = {"task": task, "checkpoints": join(run.checkpoints, run.name)}
    ledger.job.enter("start")
    seconds = estimate_core_seconds(plan, rows, config, crops.crop_size)
    with session.open_session(config.ray, seconds, SMALL_SECONDS):
        ledger.job.enter("work")
        if not session.workers_exist():
            if settings.most_workers > 1 or settings.use_gpu:
                raise UsageError(
                    "ray.start never trains with one worker, on CPUs; leave it out, or --training.workers "
                    "and --training.use_gpu"
                )
            result = train_here(told, config.ray.num_cpus or count_cpus(), mine)
        else:
            if settings.use_gpu:
                session.require_gpus(config.ray, "training.use_gpu", settings.least_workers)
            result = run_workers(run, train_worker, told, storage, mine)
            ledger.take_all(idle_since=False)  # some are long gone
        ledger.job.enter("report")
    mine.check()
    known = (identity, data_sha256, start, sections)
    info = finish_bundle(config, storage, crops, rows["val"], result, plan, *known)
    track_bundle(config, storage, info, result["tracked"])
    storage.remove(join(config.output, CHECKPOINTS))
    told = {ACCOUNTING: ledger.summarize(config.price_core_hour)}
    return make_outcome(info, plan | told, config)


def estimate_core_seconds(
    plan: Mapping[str, Any], rows: Mapping[str, Rows], config: TrainJobConfig, size: int = INPUT_SIZE
) -> float:
    """About how much work a training is; infinite for one of several workers or on GPUs."""
    if config.training.most_workers > 1 or config.training.use_gpu:
        return math.inf
    train, val, shown = len(rows["train"]), len(rows["val"]), plan["crops_per_epoch"]
    crops = 0.0  # that are learnt from; one that goes forwards only is a third of it
    for phase in plan_phases(config.training):
        if can_keep_features(config, phase, train, shown):
            crops += (train + val) / 3
        else:
            crops += phase.epochs * (shown + val / 3)
    return SECONDS_PER_CROP * crops * (size / INPUT_SIZE) ** 2


def _make_uris_absolute(config: TrainJobConfig) -> TrainJobConfig:
    """Workers have another working directory."""
    update: dict[str, Any] = {"input": make_absolute(config.input), "output": make_absolute(config.output)}
    if config.model.weights not in NO_FILE:
        weights = make_absolute(config.model.weights)
        update["model"] = config.model.model_copy(update={"weights": weights})
    return config.model_copy(update=update)


def select_checked_rows(crops: CropSet, config: TrainJobConfig) -> dict[str, Rows]:
    """The rows of the two splits, ``train`` and ``val``; ``UsageError`` where they would train a lie."""
    training = config.training
    splits = (training.train_split, training.val_split)
    if splits[0] == splits[1]:
        raise UsageError(f"training.train_split and training.val_split are both {splits[0]!r}")
    if config.faults.frame_split:
        require_both_classes(crops.table, splits[0])
        rows = dataset.select_rows(crops, splits[0])
        if config.faults.rotate_fakes:
            rows = faults.add_rotated_copies(rows)
        return dict(zip(("train", "val"), faults.split_frames(rows, training.seed), strict=True))
    if config.augment.fakes != "real" and not isinstance(crops.config.get("crop"), dict):
        raise UsageError(
            f"{crops.uri}: without {RECORD_FILE} it is not known where the faces are in these crops; "
            "run jobs/preprocess.py again, or use --augment.fakes real"
        )
    only_reals = config.augment.fakes == "sbi"  # the fakes are made of them
    labels = dataset.select_labelled(crops.table, splits[1])["label"]
    made = only_reals and pc.any(pc.equal(labels, 0)).as_py() and not pc.any(pc.equal(labels, 1)).as_py()
    for split in splits[1 if only_reals else 0 : 1 if made else 2]:
        require_both_classes(crops.table, split)
    try:
        require_disjoint(crops.table, splits)
        require_no_copies(crops.uri, Storage(config.storage), splits)
    except UsageError as error:
        if not training.allow_overlap:
            raise UsageError(f"{error}\n  --training.allow_overlap true trains all the same") from None
        log.warning("%s", error)
    rows = dataset.select_rows(crops, splits[0], with_originals=training.balance == "paired")
    if not (rows.label == 0).any():  # where fakes are made of reals, this is all that is needed
        raise UsageError(f"{crops.uri}: split {splits[0]!r} has no real crops to make fakes of")
    if rows.original is not None and config.augment.fakes != "sbi" and not (rows.original >= 0).any():
        raise UsageError(
            f"{crops.uri}: training.balance is paired, and no fake of split {splits[0]!r} has its original "
            "there: a real video of the same target_id, data set and compression, with a crop of that frame"
        )
    found = {"train": rows, "val": dataset.select_rows(crops, splits[1])}
    if made:
        log.warning("split %s has no fakes: validation is of fakes that are made of its reals", splits[1])
        found["val"] = validation.add_blended_copies(found["val"])
    if config.faults.rotate_fakes:
        found = {name: faults.add_rotated_copies(part) for name, part in found.items()}
    return found


def require_no_copies(crops_uri: str, storage: Storage, splits: tuple[str, str]) -> None:
    """Refuse the same bytes in both splits, where the crops' manifest knows the bytes."""
    columns = ["video_id", "split", "label", "status", "content_sha256"]
    if (videos := read_output_manifest(crops_uri, storage, columns)) is not None:
        require_no_duplicates(videos, list(splits))


def describe_training(rows: Mapping[str, Rows], config: TrainJobConfig) -> dict[str, Any]:
    """The plan in numbers: crops by split, class and method, and what an epoch is."""
    training = config.training
    found: dict[str, Any] = {}
    for name, split in rows.items():
        for label, word in ((0, "real"), (1, "fake")):
            found[f"{name}_{word}_crops"] = int(np.count_nonzero(split.label == label))
        counts = np.bincount(split.method[split.label == 1], minlength=len(split.methods)).tolist()
        found[f"{name}_fake_methods"] = {m: n for m, n in zip(split.methods, counts, strict=True) if n}
    first = plan_training_epoch(rows["train"], config, 0)
    found |= {
        "crops_per_epoch": len(first),
        "steps_per_epoch": first.steps,
        "workers": training.name_workers(),
    }
    pairs = {"self_blended": CropKind.BLENDED, "fakes_beside_their_original": CropKind.BESIDE}
    for name, kind in pairs.items():
        if count := int(np.count_nonzero(first.kind == kind)):
            found[f"{name}_per_epoch"] = count
    found["phases"] = {phase.name: f"{phase.epochs} epochs at most" for phase in plan_phases(training)}
    if training.balance == "method":
        _tell_of_rare_methods(rows["train"], first, training.most_repeats)
    if config.faults.list_names():
        found["faults"] = ", ".join(config.faults.list_names())
    return found


def _tell_of_rare_methods(rows: Rows, epoch: EpochPlan, most_repeats: int) -> None:
    """Say which methods have too few crops for their share of an epoch's fakes."""
    fakes = rows.method[epoch.rows][(epoch.kind == CropKind.STORED) & (epoch.label == 1)]
    shown = np.bincount(fakes, minlength=len(rows.methods))
    stored = np.bincount(rows.method[rows.label == 1], minlength=len(rows.methods))
    for method in np.flatnonzero((stored > 0) & (shown == most_repeats * stored) & (shown < shown.max())):
        log.info(
            "%s: its %d crops are shown %d times an epoch, which training.most_repeats bounds; other methods "
            "fill its share",
            rows.methods[method], stored[method], most_repeats,
        )  # fmt: skip


def hash_run(config: TrainJobConfig, data_sha256: str, sections: Sections | None = None) -> str:
    """Hash of what decides the numbers of a run: data, model, augmentation, and the training recipe."""
    sections = dict(sections or _dump_sections(config))
    sections["training"] = {k: v for k, v in sections["training"].items() if k not in _FREE_KEYS}
    return hash_json({"data": data_sha256, **sections})


def _dump_sections(config: TrainJobConfig, weights_sha256: str = "") -> Sections:
    """The sections that decide a run, with the hash of what ``model.weights`` holds, if it names a file."""
    sections = {name: getattr(config, name).model_dump(mode="json") for name in config.row_sections}
    sections["model"] |= {"weights_sha256": weights_sha256} if weights_sha256 else {}
    return sections


def _claim(config: TrainJobConfig, storage: Storage, identity: str, sections: Sections) -> bool:
    """Make the output folder this run's own; true if it is finished. Refuses what another run left."""
    checkpoints, bundle_file = join(config.output, CHECKPOINTS), join(config.output, BUNDLE_FILE)
    marker = join(checkpoints, _RUN_FILE)
    finished = storage.exists(bundle_file)
    # a run that failed at its start left no work that would be lost
    unfinished = storage.exists(marker) and any(
        info.path.endswith(STATE_FILE) for info in storage.list_files(checkpoints)
    )
    if not config.training.resume:
        storage.remove(bundle_file)
        storage.remove(checkpoints)
    elif finished or unfinished:
        if unfinished:
            found = storage.read_json(marker)
        else:
            found = bundle.read_bundle_info(config.output, storage).training
        if not isinstance(found, dict) or not isinstance(found.get("config", {}), dict):
            raise UsageError(f"{marker}: not what training left; --training.resume false begins anew")
        if found.get("identity") != identity:
            what = "an unfinished run" if unfinished else "a bundle"
            before = found.get("config", {})
            training = {k: v for k, v in sections["training"].items() if k not in _FREE_KEYS}
            changes = describe_changes(before, {**sections, "training": training})
            named = f" ({', '.join(changes)})" if changes else ""
            raise UsageError(
                f"{config.output}: holds {what} of other crops or another configuration{named}; give another "
                "--output, or --training.resume false to replace it"
            )
        if finished and not unfinished:
            return True
    storage.write_text(marker, json.dumps({"identity": identity, "config": sections}) + "\n")
    return False


def finish_bundle(
    config: TrainJobConfig,
    storage: Storage,
    crops: CropSet,
    validated: Rows,
    result: Mapping[str, Any],
    plan: Mapping[str, Any],
    identity: str,
    data_sha256: str,
    start: BundleInfo | None = None,
    sections: Sections | None = None,
) -> BundleInfo:
    """Write the bundle beside the network that the workers left, with history, plots, scores and card.

    ``validated`` are the rows that ``result``, what rank 0 returned, has the scores of; ``start`` is the
    bundle that training started from.
    """
    history = result["history"]
    config_hash = hash_config(config)
    write_history(history, config.output, storage, config_hash)
    for name, content in plots.draw_plots(history).items():
        storage.write_bytes(join(config.output, "plots", name), content)
    # a split of frames shows nobody of the validation split
    splits = [config.training.train_split]
    splits += [] if config.faults.frame_split else [config.training.val_split]
    scored = validation.collect_faces(crops, validated, config.training.split_seed)
    scored = scored.append_column("score", pa.array(result["val_scores"], pa.float64()))
    people_named = names_people(crops.table)
    derived = validation.derive_bundle_fields(scored, people_named)
    if config.faults.frame_split:
        derived["unproven"] = "it was validated on the videos that it was trained on (faults.frame_split)"
    validation.write_scores(scored, config.output, storage, config_hash)
    measured = scored.filter(pc.not_equal(scored["role"], validation.EPOCH))
    info = BundleInfo(
        model_sha256=result["model_sha256"],
        input=InputContract(size=crops.crop_size),
        runtimes=result.get("runtimes", {}),
        sampling=parse_section(crops.config, "sampling", SamplingConfig),
        detector=parse_section(crops.config, "detector", DetectorConfig),
        crop=parse_section(crops.config, "crop", CropConfig),
        crops_config_sha256=crops.config.get("config_sha256"),
        training={
            "identity": identity,
            "data_sha256": data_sha256,
            "config_sha256": config_hash,
            "config": sections or _dump_sections(config),
            "faults": config.faults.list_names(),
            "backbone": result.get("backbone"),
            "epochs_run": len(history),
            "best_epoch": result["best_epoch"],
            "crops": {key: value for key, value in plan.items() if "_crops" in key or "_methods" in key},
            "identities": starting_bundle.join_identities(
                start, {split: list_identities(crops.table, split) for split in splits}, splits[0]
            ),
            "started_from": start.sha256 if start else None,
            "people_named": people_named,
            "validation_halved": validation.BOTH not in scored["role"].to_pylist(),
        },
        versions=keras_runtime.list_versions(),
        validated_on=describe_validation(measured, crops.table, read_output_manifest(crops.uri, storage)),
        **derived,
    )
    card = model_card.render_card(bundle.seal(info))
    storage.write_text(join(config.output, model_card.FILE), card)
    return bundle.write_bundle(config.output, storage, info)


def track_bundle(config: TrainJobConfig, storage: Storage, info: BundleInfo, run_ids: dict[str, str]) -> None:
    """Add the finished bundle, with its plots and card, to the runs of trackers."""
    if not run_ids:
        return
    wanted = {bundle.MODEL_FILE, BUNDLE_FILE, model_card.FILE, "history.csv", "plots", inference.FOLDER}
    with make_temporary_folder() as folder:
        storage.download_folder(config.output, folder, wanted)
        trackers = Trackers(config, run_ids)
        trackers.tell("log_bundle", folder, info.sha256)
        trackers.tell("close")


def make_outcome(info: BundleInfo, plan: Mapping[str, Any], config: TrainJobConfig) -> Outcome:
    """What a finished training says of itself."""
    val = info.metrics["val"]
    summary = {
        **plan,
        "epochs_run": info.training["epochs_run"],
        "best_epoch": info.training["best_epoch"],
        "val": {"threshold": info.threshold}
        | {name: val[name] for name in ("accuracy", "precision", "recall", "f1", "auc", "eer")},
        "val_video_auc": info.metrics.get("val_video", {}).get("auc"),
        "bundle": config.output,
        "bundle_sha256": info.sha256,
    }
    if reason := explain_unproven(info):
        summary["unproven"] = reason
        log.warning("the bundle gives scores and no verdicts: %s", reason)
    if not info.training.get("people_named", True):
        summary["people"] = UNNAMED
        log.warning("%s", UNNAMED)
    names = (bundle.MODEL_FILE, BUNDLE_FILE, model_card.FILE, "history.csv")
    look_at = [join(config.output, name) for name in (*names, "plots/accuracy.png", "plots/loss.png")]
    return Outcome(summary, look_at=look_at)
