"""Backbones of KerasHub: every family from a preset's folder to a trained file that opens anywhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.config import ModelConfig, StorageConfig, TrainingConfig
from deepfake.config.model import HUB_FAMILIES
from deepfake.errors import UsageError
from deepfake.imports import hide_modules
from deepfake.io.storage import Storage
from deepfake.model import hub, inference, keras_runtime, openvino_graph
from deepfake.model.backbones import check_backbone
from deepfake.model.bundle import MODEL_FILE, Bundle, InputContract, load_keras_network
from deepfake.model.initialisation import build_starting_network, hash_weights, read_starting_bundle
from deepfake.model.network import (
    POOL_LAYER,
    build_network,
    check_weights,
    copy_for_inference,
    list_weights,
    set_trainable,
)
from deepfake.training.distributed.collective import Collective
from deepfake.training.learner import Learner
from deepfake.training.schedule import Phase
from tests import running
from tests.small_bundle import save_bundle
from tests.small_preset import save_preset

pytest.importorskip("keras_hub", reason="KerasHub is not installed: the extra deepfake[hub]")
FAMILIES = ("clip", "dinov2", "dinov3", "siglip2", "vit")  # siglip is siglip2's network
RUNS = {family: (family, "norms") for family in FAMILIES} | {"all of dinov2": ("dinov2", "all")}


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("presets")
    for family in FAMILIES:
        save_preset(folder, family)
    return folder


def configure(presets: Path, family: str, **more: Any) -> ModelConfig:
    values = {"backbone": f"kerashub:{family}_tiny", "weights": str(presets / family), "head": "sphere"}
    return ModelConfig.model_validate(values | more)


def crops(count: int = 3) -> np.ndarray:
    """Noise that is redder than it is blue, so that the order of colours matters."""
    made = np.random.default_rng(0).integers(0, 128, (count, 224, 224, 3), np.uint8)
    return made + np.array([128, 40, 0], np.uint8)


def save_hub_bundle(folder: Path, config: ModelConfig, network: Any) -> str:
    training = {"config": {"model": config.model_dump(mode="json")}}
    save_bundle(str(folder), Storage(), copy_for_inference(network), threshold=0.5, training=training)
    return str(folder)


def test_the_configuration_takes_the_families_that_are_known_here() -> None:
    assert tuple(hub.FAMILIES) == HUB_FAMILIES
    with pytest.raises(ValueError, match=r"mesoinception4, kerashub:clip_\.\.\."):
        ModelConfig(backbone="kerashub:bert_base_en")


def test_the_page_says_what_licence_each_family_has() -> None:
    text = (running.ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `kerashub:(\w+)_\.\.\.`.*\| \[(.+)\]\((.+)\) \|$", text, re.M)
    assert found == [(name, family.licence, family.terms) for name, family in hub.FAMILIES.items()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_sees_crops_as_the_presets_own_converter_and_backbone_do(
    presets: Path, family: str
) -> None:
    import keras
    import keras_hub

    network = build_network(configure(presets, family))
    features = keras.Model(network.inputs, network.get_layer(POOL_LAYER).output)(crops(), training=False)
    place, facts = str(presets / family), hub.FAMILIES[family]
    own = {"image_shape": (224, 224, 3)} if facts.is_resizable else {}
    theirs = keras_hub.models.Backbone.from_preset(place, **own)
    theirs = getattr(theirs, "vision_encoder", theirs)
    converter = keras_hub.layers.ImageConverter.from_preset(place)
    converter.image_size = theirs.image_shape[:2]
    images = converter(crops().astype(np.float32))
    expected = np.asarray(theirs(keras.tree.map_structure(lambda _: images, theirs.input), training=False))
    expected = expected if facts.is_pooled else expected[:, 0]
    assert expected.std(axis=0).max() > 1e-3  # crops differ
    np.testing.assert_allclose(np.asarray(features), expected, atol=2e-5)


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_crops_of_another_size_are_resized_once_where_the_backbone_takes_one_alone(
    presets: Path, family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(presets, family)
    check_weights(config, Storage(), 112)
    side = 112 if hub.FAMILIES[family].is_resizable else 224
    told = "kerashub:vit_tiny takes pictures of 224 pixels: crops of 112 are resized inside the network"
    assert (told in caplog.text) == (side == 224)
    network = build_network(config, size=112)
    backbone = hub.find_backbone(network)
    assert backbone is not None and backbone.image_shape[0] == side and network.input_shape[1] == 112
    training = {"config": {"model": config.model_dump(mode="json")}}
    contract = InputContract(size=112)
    kept = copy_for_inference(network)
    save_bundle(str(tmp_path), Storage(), kept, threshold=0.5, training=training, input=contract)
    bundle, small = Bundle.load(str(tmp_path)), np.ascontiguousarray(crops()[:, :112, :112])
    exported = inference.prepare_network(bundle, Storage()).start_scorer(1)
    np.testing.assert_allclose(exported.score(small), bundle.score(small), atol=inference.TOLERANCE)


def test_parts_of_a_batch_give_layer_norms_what_the_whole_batch_does(presets: Path) -> None:
    config, labels = configure(presets, "vit"), np.array([0, 1, 1, 0, 1], np.int8)
    settings = {"fine_tune": "norms", "freeze_batch_norm": False, "global_batch": 5}
    learnt = []
    for parts in (1, 2):
        chosen = TrainingConfig(**settings, accumulate=parts)
        check_backbone(config, chosen)
        keras_runtime.start_keras(seed=4)
        learner = Learner(build_network(config), Phase("norms", 1, 0.01), chosen, Collective(0, 1))
        before = learner.copy_weights()
        learner.train(crops(5), labels)
        learnt.append([new - old for new, old in zip(learner.copy_weights(), before, strict=True)])
    assert max(np.abs(change).max() for change in learnt[0]) > 1e-3
    for whole, divided in zip(*learnt, strict=True):
        np.testing.assert_allclose(divided, whole, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_learns_is_the_norms_alone_or_the_last_blocks_or_all_but_what_stays(
    presets: Path, family: str
) -> None:
    network = build_network(configure(presets, family))
    backbone = hub.find_backbone(network)
    assert backbone is not None

    def learns(part: str, blocks: int = 1) -> set[str]:
        set_trainable(network, part, freeze_batch_norm=False, blocks=blocks)
        return {weight.path for weight in backbone.trainable_variables}

    everything = {weight.path for weight in backbone.weights}
    stay = {path for path in everything if path.endswith(("position_embeddings", "mask_token", "_ids"))}
    assert learns("all") == everything - stay
    norms = learns("norms")
    assert len(norms) == len({path for path in everything if path.endswith(("gamma", "beta"))}) > 9
    assert learns("head") == set()
    blocks = re.compile(r".*(?:encoder_block|layers|transformer_block)_(\d)/")

    def list_blocks(paths: set[str]) -> list[str]:
        return sorted({match[1] for match in map(blocks.match, paths) if match})

    assert list_blocks(learns("top")) == list_blocks(everything)[1:]
    top = learns("top", 2)
    assert list_blocks(top) == list_blocks(everything) and top < learns("all")
    assert not any("embedding/" in path or "embeddings/" in path for path in top)
    assert len(network.trainable_variables) == len(learns("all")) + 2


# Trains every family in turn and leaves its file; arguments: rank, workers, crops, each run's configuration.
WORKER = """
import json, sys
rank, world, crops, runs = map(json.loads, sys.argv[1:])
from deepfake.model import keras_runtime
keras_runtime.start_keras(threads=1)
from deepfake.training import trainer
from deepfake.training.distributed.collective import Collective
only = Collective(rank, world)
trainer.Collective = lambda *_: only  # TensorFlow takes one a process
from pathlib import Path
from deepfake.config import TrainJobConfig
from deepfake.crops import dataset
from deepfake.io.storage import Storage
from deepfake.training.resources import divide_node
from deepfake.training.validation import collect_faces, number_choosing_videos
opened = dataset.open_crops(crops, Storage())
train, val = (dataset.select_rows(opened, split) for split in ("train", "val"))
videos = number_choosing_videos(collect_faces(opened, val, 0))
for run in runs:
    config = TrainJobConfig.model_validate(run)
    task = trainer.TrainingTask(config, opened.files, train, val, videos)
    made = trainer.Trainer(task, divide_node(2, world), rank, world)
    while made.has_more_epochs():
        made.run_epoch(lambda: None)
    result = made.finish()
    if rank == 0:
        Path(config.output, "result.json").write_text(json.dumps(result))
"""
PLAIN = """
import os, sys
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras, numpy as np
for folder in sys.argv[2:]:
    network = keras.models.load_model(folder + "/improved_deepfake_model.keras", safe_mode=True)
    np.save(folder + "/scores.npy", np.asarray(network(np.load(sys.argv[1]), training=False))[:, 0])
"""


@pytest.fixture(scope="module")
def trained(presets: Path, small_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of ``RUNS``, trained for an epoch by two workers."""
    folder = tmp_path_factory.mktemp("trained")
    runs = []
    for name, (family, part) in RUNS.items():
        training = {
            "epochs": 1, "head_epochs": 0, "fine_tune": part, "freeze_batch_norm": False, "global_batch": 8,
            "select": "last", "uniformity": 0.5, "alignment": 0.1, "cache_gb": 0, "workers": 2,
            "mixed_precision": "mixed_bfloat16" if family == "vit" else "none",
        }  # fmt: skip
        model = configure(presets, family).model_dump(mode="json")
        output = str(folder / name)
        runs.append({"input": str(small_crops), "output": output, "model": model, "training": training})
    running.run_as_workers(WORKER, 2, str(small_crops), runs)
    return folder


@pytest.mark.slow(60)
def test_every_family_trains_on_two_workers_and_opens_with_keras_alone_and_scores_the_same_everywhere(
    presets: Path, trained: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "crops.npy", crops())
    folders = [str(trained / family) for family in FAMILIES]
    words = [sys.executable, "-c", PLAIN, str(tmp_path / "crops.npy"), *folders]
    subprocess.run(words, check=True, timeout=running.HANGS_SECONDS, cwd=tmp_path)
    for family in FAMILIES:
        folder, config = trained / family, configure(presets, family)
        result = json.loads((folder / "result.json").read_text())
        data = (folder / MODEL_FILE).read_bytes()
        network = load_keras_network(data, family, 64, "", with_hub=True)
        bundle = Bundle.load(save_hub_bundle(tmp_path / family, config, network))
        assert not bundle.has_heat_maps
        ours = bundle.score(crops())
        assert np.ptp(ours) > 1e-3
        np.testing.assert_allclose(np.load(folder / "scores.npy"), ours, atol=1e-6)
        (export,) = (folder / "runtimes").iterdir()  # it was compared with Keras before it was kept
        scorer = openvino_graph.OpenVinoScorer(export.read_bytes(), 224)
        assert not scorer.has_maps
        np.testing.assert_allclose(scorer.score(crops()), ours, atol=inference.TOLERANCE)
        assert inference.TOLERANCE <= 1e-3
        facts = hub.FAMILIES[family]
        side = 256 if facts.is_pooled else 224
        assert result["backbone"].items() >= {"side": side, "licence": facts.licence}.items()


@pytest.mark.slow(20)
def test_norms_leaves_every_other_weight_of_every_family_bit_identical(presets: Path, trained: Path) -> None:
    for name, (family, part) in RUNS.items():
        begun = build_network(configure(presets, family))
        data = (trained / name / MODEL_FILE).read_bytes()
        after = load_keras_network(data, family, 64, "", with_hub=True)
        ours, theirs = hub.find_backbone(begun), hub.find_backbone(after)
        assert ours is not None and theirs is not None
        set_trainable(begun, part, freeze_batch_norm=False)
        moved = 0
        for before, now in zip(ours.weights, theirs.weights, strict=True):
            same = np.array_equal(np.asarray(before), np.asarray(now))
            assert same or before.trainable, before.path
            moved += not same
        assert moved > 8, name


def test_a_training_starts_from_a_bundle_that_has_one(presets: Path, tmp_path: Path) -> None:
    config = configure(presets, "dinov2")
    network = build_network(config)
    start = save_hub_bundle(tmp_path / "bundle", config, network)
    again = config.model_copy(update={"weights": start})
    assert read_starting_bundle(again, Storage()) is not None
    assert read_starting_bundle(config, Storage()) is None
    begun = build_starting_network(again, Storage())
    for mine, theirs in zip(list_weights(begun), list_weights(network), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


def test_a_file_with_a_layer_of_kerashub_is_refused_unless_its_bundle_says_so_and_nothing_is_imported(
    presets: Path, tmp_path: Path
) -> None:
    config = configure(presets, "vit")
    uri = save_hub_bundle(tmp_path / "bundle", config, build_network(config))
    path = Path(uri, MODEL_FILE)
    script = (
        "import sys; from deepfake.model.bundle import load_keras_network\n"
        "try: load_keras_network(open(sys.argv[1], 'rb').read(), 'x.keras', 64, '')\n"
        "except Exception as error: print(error, 'keras_hub' in sys.modules)"
    )
    words = [sys.executable, "-c", script, str(path)]
    printed = subprocess.run(words, check=True, capture_output=True, text=True, cwd=running.ROOT).stdout
    assert printed == "x.keras: has a layer of KerasHub, and bundle.json names no backbone of it False\n"

    def refused(change: Any) -> str:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        described = json.loads(parts["config.json"])
        (layer,) = (one for one in described["config"]["layers"] if one["class_name"] == "ViTBackbone")
        change(layer)
        with zipfile.ZipFile(tmp_path / "changed.keras", "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, json.dumps(described) if name == "config.json" else content)
        data = (tmp_path / "changed.keras").read_bytes()
        with pytest.raises(UsageError) as caught:
            load_keras_network(data, "x.keras", 64, "", with_hub=True)
        return str(caught.value)

    assert "which is no backbone" in refused(lambda layer: layer.update(class_name="BertBackbone"))
    assert "which is no backbone" in refused(lambda layer: layer.update(registered_name="keras_hub>Other"))
    assert "which is no backbone" in refused(lambda layer: layer.update(module="keras_hub.src.utils"))
    assert "patch" not in refused(lambda layer: layer["config"].update(patch_size=[1, 1]))
    assert "larger than any" in refused(lambda layer: layer["config"].update(patch_size=[1, 1]))
    assert "larger than any" in refused(lambda layer: layer["config"].update(hidden_dim=10**6))


def test_a_folder_that_is_no_preset_of_the_family_is_refused_with_the_remedy(
    presets: Path, tmp_path: Path
) -> None:
    def refused(config: ModelConfig, storage: Storage | None = None) -> str:
        with pytest.raises(UsageError) as caught:
            check_weights(config, storage or Storage())
        return str(caught.value)

    absent = ModelConfig(backbone="kerashub:vit_tiny", weights=str(tmp_path / "nothing"))
    assert re.search(r"nothing: holds no config.json.*save_to_preset", refused(absent))
    other = ModelConfig(backbone="kerashub:dinov2_large", weights=str(presets / "vit"))
    assert "describes ViTBackbone, expected DINOV2Backbone; see model.backbone" in refused(other)
    save_preset(tmp_path, "vit")
    own = ModelConfig(backbone="kerashub:vit_tiny", weights=str(tmp_path / "vit"))
    check_weights(own, Storage())
    resized = ModelConfig(backbone="kerashub:dinov2_tiny", weights=str(presets / "dinov2"))
    check_weights(resized, Storage(), 112)
    with pytest.raises(UsageError, match=r"multiple of 56, these have 100 .*--crop\.size 56 or 112$"):
        check_weights(resized, Storage(), 100)
    wide = ModelConfig(backbone="kerashub:vit_tiny", weights=save_preset(tmp_path / "wide", "vit", width=64))
    assert "--storage.max_network_mb 18 here and where the bundle" in refused(
        wide, Storage(StorageConfig(max_network_mb=1))
    )
    before = hash_weights(own, Storage())
    assert before == hash_weights(own, Storage()) != hash_weights(wide, Storage())
    weights = tmp_path / "vit" / "model.weights.h5"
    weights.write_bytes((tmp_path / "wide" / "vit" / "model.weights.h5").read_bytes())
    assert hash_weights(own, Storage()) != before  # another content under the same path
    file = tmp_path / "vit" / "config.json"
    described = json.loads(file.read_text())
    described["config"]["dtype"] = {
        "module": "builtins", "class_name": "eval", "config": {}, "registered_name": None,
    }  # fmt: skip
    file.write_text(json.dumps(described))
    assert "has eval, which no preset of KerasHub has" in refused(own)
    (tmp_path / "vit" / "image_converter.json").unlink()
    file.write_bytes((presets / "vit" / "config.json").read_bytes())
    assert "holds no image_converter.json" in refused(own)
    unknown = ModelConfig(backbone="kerashub:clip_vit_large_patch99")
    assert re.search(r"KerasHub has no such preset; give one of clip_vit_b.*vit_large", refused(unknown))


def test_keys_that_do_not_fit_and_a_missing_extra_are_named(presets: Path) -> None:
    with pytest.raises(UsageError, match=r"model.input_mode tf: kerashub:vit_tiny says itself"):
        check_backbone(configure(presets, "vit", input_mode="tf"), TrainingConfig())
    with (
        hide_modules("keras_hub"),
        pytest.raises(
            UsageError, match=r"kerashub:vit_tiny needs KerasHub, which is not installed: .* deepfake\[hub\]"
        ),
    ):
        check_backbone(configure(presets, "vit"), TrainingConfig())
