"""The adopt job: a foreign file to a bundle; thresholds, calibration and numbers where crops are given."""

import hashlib
import logging
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.identity_overlap import list_identities, name_some, names_people, require_both_classes
from deepfake.catalog.load import load_catalog
from deepfake.config import (
    AdoptJobConfig,
    CatalogConfig,
    CropConfig,
    DetectorConfig,
    SamplingConfig,
    hash_config,
)
from deepfake.crops import dataset, reader
from deepfake.crops.dataset import CropSet, Rows
from deepfake.errors import UsageError
from deepfake.io import lock
from deepfake.io.parts import read_output_manifest
from deepfake.io.run_record import parse_section
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model import foreign, inference, keras_runtime, model_card
from deepfake.model.bundle import (
    BUNDLE_FILE,
    GRAPH_FILE,
    MODEL_FILE,
    TRAINED_ELSEWHERE,
    Bundle,
    BundleInfo,
    InputContract,
    seal,
    serialise_network,
    write_bundle,
)
from deepfake.model.network_file import read_network_file
from deepfake.model.validation_data import describe_validation
from deepfake.model.verdicts import explain_unproven
from deepfake.outcome import Outcome
from deepfake.training import validation
from deepfake.training.data.epoch_plan import plan_validation

log = logging.getLogger(__name__)

AT_ONCE = 512  # crops in memory, 77 MB
NOT_CALIBRATED = "one half: nothing was measured; --calibrate CROPS chooses thresholds"


def run(config: AdoptJobConfig) -> Outcome:
    """Do the whole job.

    Raises ``UsageError`` where the file is no detector that can be taken, or crops do not fit.
    """
    storage = Storage(config.storage)
    where, output = make_absolute(config.input), make_absolute(config.output)
    kind = PurePosixPath(where).suffix.lower()
    if kind not in (".keras", ".onnx"):
        raise UsageError(f"{where}: expected a file *.onnx or *.keras; docs/adopt.md tells how to make one")
    try:
        data = read_network_file(where, storage)
    except FileNotFoundError:
        raise UsageError(f"{where}: no such file") from None
    if missing := [name for name in ("values", "fake") if getattr(config.foreign, name) is None]:
        told = " and ".join(f"--foreign.{name}" for name in missing)
        raise UsageError(f"{where}: the file does not tell {told}; docs/adopt.md says where to find out")
    plan: dict[str, Any] = {"detector": where, "bytes": len(data), "output": output}
    known = _list_known(config, storage)
    calibration = _open_calibration(config, known, storage) if config.calibrate else None
    if calibration is not None:
        plan |= {
            "calibrated_on": f"split {config.split} of {calibration[0].uri}",
            "crops": len(calibration[1]),
        }
    if config.dry_run:
        return Outcome(plan)
    with lock.hold(output, storage):
        if storage.exists(join(output, BUNDLE_FILE)):
            raise UsageError(f"{output}: holds a bundle; give another --output")
        size = config.crop.size if calibration is None else calibration[0].crop_size
        bundle = _make_bundle(data, where, config, size, known, storage)
        info = bundle.info
        if calibration is not None:
            info = info.model_copy(update=_calibrate_bundle(bundle, *calibration, config, storage))
        storage.write_text(join(output, model_card.FILE), model_card.render_card(seal(info)))
        return _make_outcome(write_bundle(output, storage, info), plan, output)


def _list_known(config: AdoptJobConfig, storage: Storage) -> set[str] | None:
    """Whom the detector was trained on; None where nobody says."""
    if config.known is None:
        return None
    uri = make_absolute(config.known)
    if storage.exists(join(uri, "_manifest.parquet")):
        table = dataset.open_crops(uri, storage).table
    else:
        table = load_catalog(uri, CatalogConfig(), storage, invent=False)
    there = set(pc.unique(table["split"].drop_null()).to_pylist())
    if missing := sorted(set(config.known_splits) - there):
        raise UsageError(
            f"{config.known}: has no split {', '.join(missing)} (--known_splits); its splits are "
            f"{', '.join(sorted(there)) or 'not known'}"
        )
    if not config.known_splits:
        return set(list_identities(table))
    return {name for split in config.known_splits for name in list_identities(table, split)}


def _open_calibration(
    config: AdoptJobConfig, known: set[str] | None, storage: Storage
) -> tuple[CropSet, Rows]:
    """The crops to calibrate on; ``UsageError`` where they would say nothing."""
    assert config.calibrate is not None
    crops = dataset.open_crops(make_absolute(config.calibrate), storage, config.limit)
    require_both_classes(crops.table, config.split)
    _read_cut(crops, config)  # refuses crops that were cut otherwise
    if shared := (known or set()).intersection(list_identities(crops.table, config.split)):
        raise UsageError(
            f"{config.calibrate}: {len(shared)} people of split {config.split!r} are in {config.known}, "
            f"which the detector was trained on: {name_some(shared)}. Numbers on them would say nothing of "
            "new people; give other crops, or another --split"
        )
    return crops, dataset.select_rows(crops, config.split)


def _make_bundle(
    data: bytes, where: str, config: AdoptJobConfig, size: int, known: set[str] | None, storage: Storage
) -> Bundle:
    """Write the network; a bundle of it that holds its maker's words, and nothing measured.

    ``size``: side of the crops in pixels.
    """
    output, megabytes = make_absolute(config.output), config.storage.max_network_mb
    if where.lower().endswith(".onnx"):
        content, name = foreign.convert_apart(data, where, config.foreign, size), GRAPH_FILE
        runtimes: dict[str, str] = {}
    else:
        network = foreign.wrap_keras(data, where, config.foreign, size, megabytes)
        content, name = serialise_network(network), MODEL_FILE
        made = Bundle.around(network, hashlib.sha256(content).hexdigest(), output)
        made.score(inference.make_probes(size)[-1:])
        runtimes = inference.export_beside(made, storage)
    storage.write_bytes(join(output, name), content)
    said = config.foreign.model_dump(mode="json")
    info = BundleInfo(
        model_file=name,
        model_sha256=hashlib.sha256(content).hexdigest(),
        runtimes=runtimes,
        input=InputContract(size=size),
        sampling=config.sampling,
        detector=config.detector if config.detector.name != "auto" else None,
        crop=config.crop.model_copy(update={"size": size}),
        threshold=0.5,
        threshold_rule=NOT_CALIBRATED,
        training={} if known is None else {"identities": {TRAINED_ELSEWHERE: sorted(known)}},
        adopted={"file": PurePosixPath(where).name, "sha256": hashlib.sha256(data).hexdigest(), **said},
        versions=keras_runtime.list_versions(),
    )
    return Bundle(info, content, output, megabytes=megabytes)


def _calibrate_bundle(
    bundle: Bundle, crops: CropSet, rows: Rows, config: AdoptJobConfig, storage: Storage
) -> dict[str, Any]:
    """Keys of ``BundleInfo`` that the calibration crops give; their scores are written beside the bundle."""
    chosen = plan_validation(rows).rows
    places = [
        (crops.files[file], int(group), int(row))
        for file, group, row in zip(rows.file[chosen], rows.row_group[chosen], rows.row[chosen], strict=True)
    ]
    scorer = inference.prepare_network(bundle, storage).start_scorer()
    scores = np.empty(len(places), np.float64)
    for start in range(0, len(places), AT_ONCE):
        wanted = places[start : start + AT_ONCE]
        stored = reader.read_crops(wanted, storage)
        pictures = [
            reader.decode_crop(stored[place].encoded, bundle.crop_size, stored[place].sample_id)
            for place in wanted
        ]
        scores[start : start + len(wanted)] = scorer.score(np.stack(pictures))
    faces = validation.collect_faces(crops, rows, split_seed=0)
    role = faces.column_names.index("role")  # these crops have chosen nothing yet
    faces = faces.set_column(role, "role", pa.array([validation.THRESHOLDS] * len(faces)))
    scored = faces.append_column("score", pa.array(scores, pa.float64()))
    validation.write_scores(scored, bundle.uri, storage, hash_config(config))
    people_named = names_people(crops.table)
    people = list_identities(crops.table, config.split)
    return {
        **_read_cut(crops, config),
        "crops_config_sha256": crops.config.get("config_sha256"),
        "validated_on": describe_validation(faces, crops.table, read_output_manifest(crops.uri, storage)),
        "training": {
            "identities": {**bundle.info.training.get("identities", {}), "val": people},
            "config": {"training": {"val_split": config.split}},
            "people_named": people_named,
        },
        **validation.derive_bundle_fields(scored, people_named),
    }


def _read_cut(crops: CropSet, config: AdoptJobConfig) -> dict[str, Any]:
    """How the calibration crops were cut, as they say; ``UsageError`` where other keys were given."""
    found: dict[str, Any] = {}
    for name, kind in (("sampling", SamplingConfig), ("detector", DetectorConfig), ("crop", CropConfig)):
        recorded, given = parse_section(crops.config, name, kind), getattr(config, name)
        if recorded is not None and given not in (kind(), recorded):
            raise UsageError(
                f"{crops.uri}: its crops were made with another section {name} than the keys here say; leave "
                "them out, or cut the crops anew"
            )
        found |= {name: recorded} if recorded is not None else {}
    return found


def _make_outcome(info: BundleInfo, plan: dict[str, Any], output: str) -> Outcome:
    summary = {**plan, "bundle": output, "bundle_sha256": info.sha256, "network": info.model_file}
    if videos := info.metrics.get("val_video"):
        summary |= {"threshold": info.threshold, "val_video_auc": videos["auc"]}
        if (videos["intervals"].get("auc") or (0.0, 1.0))[1] < 0.5:
            assert info.adopted is not None
            log.warning(
                "its reals score higher than its fakes: --foreign.fake %s may be the wrong way round",
                info.adopted["fake"],
            )
    if reason := explain_unproven(info):
        summary["unproven"] = reason
        log.warning("the bundle gives scores and no verdicts: %s", reason)
    return Outcome(summary, look_at=[join(output, name) for name in (BUNDLE_FILE, model_card.FILE)])
