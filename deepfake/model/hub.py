"""The backbones of KerasHub that may stand before the head: the facts of each family, and what may learn.

A backbone is named ``kerashub:PRESET``. Which layers it has is KerasHub's business; here stand the names of
the classes that a saved network may hold, and the licence that its makers' weights have. Nothing imports
KerasHub but ``require_hub``. Presets are read in ``deepfake.model.hub_preset``.
"""

import importlib.util
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deepfake.errors import UsageError
from deepfake.model import keras_runtime

PREFIX = "kerashub:"
LARGEST_SIDE = 1024  # pixels, of what a backbone takes
LARGEST_WIDTH = 8192  # of a token; DINOv3's largest has 4096
MOST_BLOCKS = 200
LARGEST_ATTENTION = 2**26  # weights of a block's attention for a crop; DINOv2 giant at 518 has 45 million
_PACKAGE = "keras_hub"
# DINOv2's, as they were trained and for the size that it takes here; and what only its makers' training uses.
_FIXED = ("position_embeddings", "mask_token")
_BLOCK = re.compile(r".*?(?:encoder_block|layers|transformer_block)_(\d+)/")
_BEFORE_BLOCKS = re.compile(r".*?(?:pre_layer_norm|embeddings?)/")


@dataclass(frozen=True)
class Family:
    """What the presets of one family have in common."""

    module: str  # below keras_hub.src.models
    vision: str  # the class of the backbone
    licence: str  # of the weights that its makers published
    terms: str  # where that licence stands
    parts: tuple[str, ...] = ()  # other classes of a preset, of which the vision half is taken
    is_resizable: bool = False  # whether it takes pictures of any size
    is_pooled: bool = False  # whether it gives one row a picture; otherwise tokens, the first of the class
    no_dropout: Mapping[str, float] = field(default_factory=dict)  # its makers' presets drop nothing


_SIGLIP = Family(
    "siglip.siglip_vision_encoder", "SigLIPVisionEncoder", "Apache 2.0",
    "https://github.com/google-research/big_vision", ("SigLIPBackbone", "SigLIPTextEncoder"), is_pooled=True,
)  # fmt: skip
FAMILIES: Mapping[str, Family] = {
    "clip": Family(
        "clip.clip_vision_encoder", "CLIPVisionEncoder", "MIT", "https://github.com/openai/CLIP",
        ("CLIPBackbone", "CLIPTextEncoder"),
    ),
    "dinov2": Family(
        "dinov2.dinov2_backbone", "DINOV2Backbone", "Apache 2.0", "https://github.com/facebookresearch/dinov2",
        is_resizable=True, no_dropout={"dropout_rate": 0.0, "drop_path_rate": 0.0},
    ),
    "dinov3": Family(
        "dinov3.dinov3_backbone", "DINOV3Backbone", "DINOv3 License, with terms of its own",
        "https://ai.meta.com/resources/models-and-libraries/dinov3-license/",
        is_resizable=True, no_dropout={"attention_dropout": 0.0, "drop_path_rate": 0.0},
    ),
    "siglip": _SIGLIP,
    "siglip2": _SIGLIP,
    "vit": Family(
        "vit.vit_backbone", "ViTBackbone", "Apache 2.0", "https://github.com/google-research/vision_transformer",
        no_dropout={"dropout_rate": 0.0, "attention_dropout": 0.0},
    ),
}  # fmt: skip


def is_hub(backbone: str) -> bool:
    """Whether ``model.backbone`` names one of KerasHub."""
    return backbone.startswith(PREFIX)


def is_known(preset: str) -> bool:
    """Whether a preset is of one of the families."""
    return preset.partition("_")[0] in FAMILIES


def find_family(backbone: str) -> Family:
    """The family of ``kerashub:PRESET``, whose name begins with it."""
    return FAMILIES[backbone.removeprefix(PREFIX).partition("_")[0]]


def require_hub(what: str) -> Any:
    """The module ``keras_hub``, for ``what``; ``UsageError`` with the remedy where it is not installed."""
    keras_runtime.start_keras()
    if importlib.util.find_spec(_PACKAGE) is None:
        raise UsageError(
            f"{what} needs KerasHub, which is not installed: see docs/training.md (the extra deepfake[hub])"
        )
    import keras_hub

    return keras_hub


def check_classes(config: Any, where: str, allowed: bool) -> None:
    """Raise ``UsageError`` where a ``.keras`` file's description names what KerasHub has and we do not know.

    Keras would import any module of that package, safe mode or not. ``allowed``: whether the five backbones
    may be there, because the bundle says so; KerasHub is imported where one is.
    """
    known = {(f"{_PACKAGE}.src.models.{f.module}", f.vision): f for f in FAMILIES.values()}
    for one in list_objects(config):
        module, name = str(one.get("module")), one.get("class_name")
        registered = str(one.get("registered_name"))
        if not (module.partition(".")[0] == _PACKAGE or registered.startswith(_PACKAGE)):
            continue
        if not allowed:
            raise UsageError(f"{where}: has a layer of KerasHub, and bundle.json names no backbone of it")
        if (module, name) not in known or registered != f"{_PACKAGE}>{name}":
            raise UsageError(
                f"{where}: has {str(name)[:100]} of KerasHub, which is no backbone that is known here"
            )
        check_backbone_config(one["config"], where)
        require_hub(where)


def check_backbone_config(config: Mapping[str, Any], where: str) -> None:
    """Raise ``UsageError`` where a backbone would need more memory for one crop than any that is of use."""

    def read(key: str) -> int:
        value = config.get(key, 1)
        return max(int(v or 1) for v in (value if isinstance(value, list | tuple) else [value]))

    side = max(read("image_shape"), read("position_embedding_shape"))
    patch = config["patch_size"]
    smallest = min(map(int, patch)) if isinstance(patch, list | tuple) else int(patch)
    tokens = (side // max(1, smallest)) ** 2 + 1 + read("num_register_tokens")
    widest = max(read(key) for key in ("hidden_dim", "num_heads"))
    if (
        side > LARGEST_SIDE
        or widest > LARGEST_WIDTH
        or read("num_layers") > MOST_BLOCKS
        or read("num_heads") * tokens**2 > LARGEST_ATTENTION
    ):
        raise UsageError(
            f"{where}: a backbone of {read('num_layers')} blocks, {tokens} tokens and width {widest}, larger "
            "than any of KerasHub that is of use here"
        )


def list_objects(config: Any) -> Iterator[dict[str, Any]]:
    """Everything in a description that names a class or a function, however deep."""
    if isinstance(config, dict):
        if "class_name" in config or "registered_name" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list):
        for one in config:
            yield from list_objects(one)


def find_backbone(network: Any) -> Any | None:
    """The backbone of KerasHub in a network; None where there is none."""
    names = {family.vision for family in FAMILIES.values()}
    return next((layer for layer in network.layers if type(layer).__name__ in names), None)


def choose_trainable_weights(backbone: Any, part: str, blocks: int = 0) -> None:
    """As ``network.set_trainable``, weight by weight: a layer has others inside, and weights of its own.

    The norms of a backbone are its LayerNorms alone: class, mask and register tokens and positions belong to
    a layer around others, and stay. DINOv2's positions never learn: KerasHub keeps two copies, and what the
    second has learnt would be saved as the first only by interpolating it.
    """
    chosen = {
        "head": list,
        "norms": lambda: _list_norms(backbone),
        "top": lambda: _list_top(backbone, blocks),
        "all": lambda: backbone.weights,
    }[part]()
    learn = {id(weight) for weight in chosen}
    for weight in backbone.weights:
        is_fixed = weight.path.endswith(_FIXED) or not weight.dtype.startswith("float")
        weight.trainable = id(weight) in learn and not is_fixed


def _list_norms(backbone: Any) -> list[Any]:
    keras = keras_runtime.start_keras()
    norms = [x for x in backbone._flatten_layers() if isinstance(x, keras.layers.LayerNormalization)]
    return [weight for norm in norms for weight in norm.weights]


def _list_top(backbone: Any, blocks: int) -> list[Any]:
    """The weights of the last blocks and those behind them."""
    number, numbered = -1, []
    for weight in backbone.weights:
        if match := _BLOCK.match(weight.path):
            number = int(match[1])
        elif _BEFORE_BLOCKS.match(weight.path):
            number = -1
        numbered.append((number, weight))
    last = max(number for number, _ in numbered)
    return [weight for number, weight in numbered if number > last - blocks]


def describe_backbone(network: Any, name: str) -> dict[str, Any] | None:
    """What a bundle says of its backbone, if it is of KerasHub: the size it takes, its weights' licence."""
    if (backbone := find_backbone(network)) is None:
        return None
    family = find_family(name)
    return {"side": backbone.image_shape[0], "licence": family.licence, "terms": family.terms}


def count_mebibytes(backbone: Any) -> float:
    """What its weights take in float32, whether they are there or not."""
    return sum(4 * math.prod(weight.shape) for weight in backbone.weights) / 2**20
