"""Backbones of KerasHub from their presets: by name, from a folder, or from a network that has one.

A preset is a folder with ``config.json``, ``image_converter.json`` (how pixels are scaled) and weights. Only
classes that ``deepfake.model.hub`` names are built from it, so a folder can run no code.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake.config import ModelConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join
from deepfake.model import hub
from deepfake.model.backbones import SCALE_LAYER
from deepfake.model.network_file import CONFIG, CONFIG_BYTES, check_weight_shapes, suggest_megabytes

CONVERTER = "image_converter.json"
_WHOLE = 8  # a preset with a text half, which is not kept, may have so many times what a bundle may


@dataclass(frozen=True)
class Preset:
    """A backbone and what it takes: ``scale`` times 0..255 RGB plus ``offset``, for all colours or each."""

    backbone: Any
    scale: Any
    offset: Any


def embed_crops(keras: Any, image: Any, preset: Preset, is_pooled: bool, prefix: str) -> Any:
    """The backbone's features of ``image (n, side, side, 3)``, RGB in 0..255: ``(n, 1 or no, features)``.

    Crops of another size than the backbone's are enlarged or reduced once, here.
    """
    side = preset.backbone.image_shape[0]
    if image.shape[1] != side:
        # Not layers.Resizing, which makes what follows train where nobody says whether it is to.
        image = keras.ops.image.resize(
            keras.ops.cast(image, "float32"), (side, side), interpolation="bilinear"
        )
    x = keras.layers.Rescaling(preset.scale, preset.offset, name=SCALE_LAYER)(image)
    x = preset.backbone(keras.tree.map_structure(lambda _: x, preset.backbone.input))
    if not is_pooled:
        x = keras.layers.Cropping1D((0, x.shape[1] - 1), name=prefix + "token")(x)
    return x


def copy_preset(network: Any) -> Preset:
    """The backbone of a network, anew and without its weights."""
    backbone, scaling = hub.find_backbone(network), network.get_layer(SCALE_LAYER)
    assert backbone is not None
    return Preset(type(backbone).from_config(backbone.get_config()), scaling.scale, scaling.offset)


def load_preset(config: ModelConfig, storage: Storage, side: int) -> Preset:
    """The backbone that ``model.backbone`` names, with the weights that ``model.weights`` does.

    One that takes any size takes ``side`` pixels. Raises ``UsageError`` where it cannot be had, is of another
    family, cannot take so many pixels, or is larger than a bundle may be (``storage.max_network_mb``).
    """
    keras_hub = hub.require_hub(f"model.backbone {config.backbone}")
    family, name = hub.find_family(config.backbone), config.backbone.removeprefix(hub.PREFIX)
    said = f"model.weights {config.weights}" if _names_folder(config) else f"model.backbone {config.backbone}"
    if not _names_folder(config) and name not in keras_hub.models.Backbone.presets:
        known = sorted(one for one in keras_hub.models.Backbone.presets if hub.is_known(one))
        raise UsageError(
            f"{said}: KerasHub has no such preset; give one of {', '.join(known)}, or the folder of a preset "
            "as --model.weights"
        )
    options: dict[str, Any] = {"image_shape": (side, side, 3)} if family.is_resizable else {}
    with _find_preset(config, storage, name) as place:
        try:
            backbone = keras_hub.models.Backbone.from_preset(
                place, load_weights=config.weights != "none", **options, **family.no_dropout
            )
            converter = keras_hub.layers.ImageConverter.from_preset(place)
        except Exception as error:  # whatever its libraries for downloading raise
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise UsageError(
                f"{said}: could not be loaded ({why}); where there is no network, or the preset's terms are "
                "not agreed to yet, download its folder elsewhere and give --model.weights FOLDER"
            ) from error
    backbone = getattr(backbone, "vision_encoder", backbone)
    _check_backbone(backbone, family, said, storage.config.max_network_mb)
    if family.is_resizable and (rest := side % (patch := int(backbone.patch_size))):
        raise UsageError(
            f"{said}: takes crops whose side is a multiple of {patch}, these have {side} pixels; run "
            f"jobs/preprocess.py with --crop.size {side - rest} or {side - rest + patch}"
        )
    if family.vision == "DINOV2Backbone":
        backbone = _keep_interpolated_positions(backbone)
    return Preset(backbone, _one_or(converter.scale, 1.0), _one_or(converter.offset, 0.0))


def _one_or(value: Any, default: float) -> Any:
    return default if value is None else value


def _names_folder(config: ModelConfig) -> bool:
    return config.weights not in ("imagenet", "none")


def _check_backbone(backbone: Any, family: hub.Family, said: str, megabytes: int) -> None:
    if type(backbone).__name__ != family.vision:
        raise UsageError(
            f"{said}: is a {type(backbone).__name__}, expected {family.vision}; see model.backbone"
        )
    if not getattr(backbone, "use_class_token", True) or isinstance(backbone.output, dict):
        raise UsageError(f"{said}: has no class token, or several outputs; give another preset")
    hub.check_backbone_config(backbone.get_config(), said)
    if (size := hub.count_mebibytes(backbone)) > megabytes:
        raise UsageError(
            f"{said}: has {size:.0f} MiB of weights, and a bundle of more than storage.max_network_mb "
            f"{megabytes} is not read again; give --storage.max_network_mb {suggest_megabytes(size)} here "
            "and where the bundle is used"
        )


def _keep_interpolated_positions(backbone: Any) -> Any:
    """DINOv2 without the positions of the size it was trained at: only those of its input's size.

    With both, KerasHub interpolates anew wherever the network is saved or opened, and where that gives
    another last digit, as on another device, takes it for something that was learnt.
    """
    config = backbone.get_config()
    kept = type(backbone).from_config(config | {"position_embedding_shape": config["image_shape"]})
    positions = backbone.embeddings.interpolated_position_embeddings
    for mine, theirs in zip(kept.weights, backbone.weights, strict=True):
        mine.assign(positions if mine.path.endswith("position_embeddings") else theirs)
    return kept


@contextmanager
def _find_preset(config: ModelConfig, storage: Storage, name: str) -> Iterator[str]:
    """Where KerasHub finds the preset: its name, or a local folder that holds it, looked through."""
    if not _names_folder(config):
        yield name
        return
    family, most = hub.find_family(config.backbone), storage.config.max_network_mb * _WHOLE
    with make_temporary_folder() as folder:
        for file in (CONFIG, CONVERTER):
            content = _read_json(config.weights, file, storage, folder)
            _check_preset_classes(content, join(config.weights, file), family)
        for path in list_weight_files(config.weights, storage):
            where = join(config.weights, path)
            (folder / path).write_bytes(storage.read_at_most(where, most * 2**20))
            if path.endswith(".h5"):
                check_weight_shapes(folder / path, where, most)
        yield str(folder)


def list_weight_files(uri: str, storage: Storage) -> list[str]:
    """The files of weights in a preset's folder, in order; KerasHub writes large ones in parts."""
    files = sorted(file.path for file in storage.list_files(uri))
    return [path for path in files if "/" not in path and Path(path).match("model*.weights.*")]


def _read_json(uri: str, file: str, storage: Storage, folder: Path) -> Any:
    """Copy a preset's description into the folder and read it."""
    where = join(uri, file)
    try:
        data = storage.read_at_most(where, CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"model.weights {uri}: holds no {file}, so it is no preset of KerasHub; save one with "
            "save_to_preset, of the backbone and of its ImageConverter"
        ) from None
    (folder / file).write_bytes(data)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid JSON ({error}); copy the preset again") from None


def _check_preset_classes(content: Any, where: str, family: hub.Family) -> None:
    """Raise ``UsageError`` unless a description is of this family's classes and Keras' own alone."""
    converter = family.vision.replace("VisionEncoder", "").replace("Backbone", "") + "ImageConverter"
    known = (converter,) if where.endswith(CONVERTER) else (family.vision, *family.parts)
    objects = list(hub.list_objects(content))
    if not objects or objects[0].get("class_name") not in known:
        name = str(objects[0].get("class_name"))[:100] if objects else "nothing"
        raise UsageError(f"{where}: describes {name}, expected {' or '.join(known)}; see model.backbone")
    for one in objects:
        ours = one.get("registered_name") in {f"keras_hub>{name}" for name in known}
        if not ours and not (one.get("module") == "keras" and one.get("registered_name") is None):
            raise UsageError(
                f"{where}: has {str(one.get('class_name'))[:100]}, which no preset of KerasHub has"
            )
