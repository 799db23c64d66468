"""The network: a backbone and its head. Building it, freezing parts of it, loading the backbone's weights.

Input contract, the same everywhere: ``(n, size, size, 3) uint8 RGB, 0..255``, of the size that the crops
were stored with, 224 by default. The input layer is uint8, and scale and order of colours are the network's
own business (``deepfake.model.backbones``), so crops that were already divided by 255 cannot reach it: as
uint8 they would be all zero, and ``check_crops`` refuses every other type.
Files, hashes and thresholds are ``deepfake.model.bundle``; the training loop is
``deepfake.training.trainer``.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from deepfake.config import FaultsConfig, ModelConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.model import hub, hub_preset, keras_runtime
from deepfake.model.backbones import BACKBONES, scale_input

log = logging.getLogger(__name__)

INPUT_SIZE = 224  # unless crops were stored with another
INPUT_LAYER = "crop"
HEAD_PREFIX = "head_"
SCORE_LAYER = HEAD_PREFIX + "score"  # the last layer
FAULT_PREFIX = "fault_"
POOL_LAYER = HEAD_PREFIX + "pool"  # takes the backbone's output, where heat maps look; gives one row a crop
WEIGHTS_SUFFIX = ".weights.h5"
NO_FILE = ("imagenet", "none")  # what model.weights may be besides a file, a preset's folder or a bundle
_NAME = "deepfake_"  # and the backbone's
# Of the head's norms. Features move while the backbone learns, and Keras' own 0.99 remembers those of some
# 200 batches ago: on a set of 5,000 crops validation's AUC was 0.43 after two such epochs, and 0.92 by the
# statistics of the weights as they were.
_NORM_MOMENTUM = 0.9


def build_network(
    config: ModelConfig,
    storage: Storage | None = None,
    faults: FaultsConfig | None = None,
    like: Any | None = None,
    size: int = INPUT_SIZE,
) -> Any:
    """A new ``keras.Model``: crops ``(n, size, size, 3) uint8 RGB`` to scores ``(n, 1) float32`` in [0, 1].

    The score is 1 for fake. The graph is flat and made of standard layers only, so the saved file opens with
    plain ``keras.models.load_model``; a backbone of KerasHub is one layer of it. ``faults`` are built in, so
    that the saved network has them as well: it takes the same uint8 RGB crops, and spoils them itself.
    ``like``: a network whose backbone of KerasHub is made again, without its weights, in place of a preset's.
    Raises ``UsageError`` where the backbone's weights cannot be had.
    """
    keras = keras_runtime.start_keras()
    layers = keras.layers
    crop = keras.Input((size, size, 3), dtype="uint8", name=INPUT_LAYER)
    image, faults = crop, faults or FaultsConfig()
    if faults.bgr:
        image = keras.ops.flip(image, axis=-1)
    if faults.divide_by_255:
        image = layers.Rescaling(1 / 255, name=FAULT_PREFIX + "divide_by_255")(image)
    if hub.is_hub(config.backbone):
        x = _embed_by_hub(keras, image, config, storage or Storage(), like)
    else:
        scaled = scale_input(keras, image, config)
        backbone = _make_backbone(keras, scaled, config, storage or Storage(), size)
        x = layers.GlobalAveragePooling2D(name=POOL_LAYER)(backbone.output)
    x = _add_hidden_layers(keras, x, config)
    # float32 whatever the policy: a sigmoid in half precision has too few values near 0 and 1
    score = layers.Dense(1, activation="sigmoid", dtype="float32", name=SCORE_LAYER)(x)
    network = keras.Model(crop, score, name=_NAME + config.backbone.replace(":", "_"))
    if hub.is_hub(config.backbone):
        return network
    drop_connect = BACKBONES[config.backbone].drop_connect
    for layer in list_backbone_layers(network):
        if isinstance(layer, layers.Dropout):  # stochastic depth: the rate grows with the block's depth
            layer.rate *= config.drop_connect / drop_connect
    return network


def _embed_by_hub(keras: Any, image: Any, config: ModelConfig, storage: Storage, like: Any | None) -> Any:
    """Features ``(n, features)`` of a backbone of KerasHub: of its class token, or pooled by itself."""
    if like is not None:
        preset = hub_preset.copy_preset(like)
    else:
        preset = hub_preset.load_preset(config, storage, image.shape[1])
    is_pooled = hub.find_family(config.backbone).is_pooled
    features = hub_preset.embed_crops(keras, image, preset, is_pooled, HEAD_PREFIX)
    # not Flatten: how many features there are is known to whatever comes after
    return keras.layers.Reshape((features.shape[-1],), name=POOL_LAYER)(features)


def _add_hidden_layers(keras: Any, x: Any, config: ModelConfig) -> Any:
    """What the head has between pooling and the score; ``(n, features)`` in and out."""
    layers = keras.layers
    if config.head == "sphere":
        return layers.UnitNormalization(name=HEAD_PREFIX + "unit", dtype="float32")(x)
    x = layers.BatchNormalization(momentum=_NORM_MOMENTUM, name=HEAD_PREFIX + "norm")(x)
    x = layers.Dropout(config.dropout, name=HEAD_PREFIX + "dropout")(x)
    x = layers.Dense(
        config.dense_units,
        activation="relu",
        kernel_regularizer=keras.regularizers.L2(config.l2) if config.l2 else None,
        name=HEAD_PREFIX + "dense",
    )(x)
    x = layers.BatchNormalization(momentum=_NORM_MOMENTUM, name=HEAD_PREFIX + "dense_norm")(x)
    return layers.Dropout(config.head_dropout, name=HEAD_PREFIX + "dense_dropout")(x)


def list_backbone_layers(network: Any) -> list[Any]:
    """The backbone's layers, from what scales its input to the last activation."""
    return [layer for layer in network.layers if not layer.name.startswith((HEAD_PREFIX, FAULT_PREFIX))]


def set_trainable(network: Any, part: str, freeze_batch_norm: bool, blocks: int = 0) -> None:
    """Choose what learns besides the head: nothing (``head``), last blocks (``top``), ``norms``, ``all``.

    What does not learn runs as in inference: its BatchNorm keeps the loaded statistics (Keras does that for
    layers that are not trainable) and its stochastic depth is off, which cannot be undone.
    ``freeze_batch_norm`` does the former for a backbone that otherwise learns; where its ``norms`` alone do,
    they learn all the same, and keep their statistics in training (``sync_batch_norm.choose_norms``). Raises
    ``UsageError`` where norms are to learn and the backbone has none.
    """
    if (of_hub := hub.find_backbone(network)) is not None:
        hub.choose_trainable_weights(of_hub, part, blocks)
        return
    keras = keras_runtime.start_keras()
    backbone = list_backbone_layers(network)
    top: set[str] = set()
    if part == "top":
        facts = BACKBONES[network.name.removeprefix(_NAME)]
        top = facts.list_top([layer.name for layer in backbone], blocks)
    batch, others = (
        keras.layers.BatchNormalization,
        (keras.layers.LayerNormalization, keras.layers.GroupNormalization),
    )
    norms = {layer.name for layer in backbone if isinstance(layer, (batch, *others))}
    if part == "norms" and not norms:
        raise UsageError(f"training.fine_tune norms: {network.name.removeprefix(_NAME)} has no norms")
    for layer in backbone:
        learns = part == "all" or layer.name in (norms if part == "norms" else top)
        is_norm = isinstance(layer, batch)
        layer.trainable = learns and not (is_norm and freeze_batch_norm and part != "norms")
        if not learns and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def list_weights(network: Any) -> list[Any]:
    """The weights layer by layer, layers by name: one order for all copies of a network.

    A copy may list its layers in another order, and checkpoints of two workers are read by one.
    """
    layers = sorted(network.layers, key=lambda layer: layer.name)
    return [weight for layer in layers for weight in layer.weights]


def list_trainable(network: Any) -> list[Any]:
    """Those of ``list_weights`` that learn."""
    learn = {id(variable) for variable in network.trainable_variables}
    return [weight for weight in list_weights(network) if id(weight) in learn]


def copy_for_inference(network: Any) -> Any:
    """A float32 copy of a trained network, of Keras' own layers, as it is saved.

    Scores in bfloat16 differ by up to 0.3 from float32, so no bundle carries a mixed precision policy.
    """
    keras = keras_runtime.start_keras()

    def kind(layer: Any) -> Any:
        plain = (keras.layers.BatchNormalization, keras.layers.Dropout)
        return next((kind for kind in plain if isinstance(layer, kind)), type(layer))

    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("float32")  # of the input, which has no configuration of its own
    try:
        return rebuild_network(network, kind, {"dtype": "float32"})
    finally:
        keras.mixed_precision.set_dtype_policy(policy)


def rebuild_network(
    network: Any, kind: Callable[[Any], Any], update: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """A copy with the same graph and weights, not compiled, each layer of class ``kind(layer)``.

    ``update`` changes every layer's configuration, but for the input's.
    """
    keras = keras_runtime.start_keras()

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.layers.InputLayer):
            config |= update  # operations, such as the one that swaps colours, have nothing to change
        return kind(layer).from_config(config)

    compiled = network.compiled
    network.compiled = False  # the copy of a compiled one has an optimizer, twice its own size
    try:
        copy = keras.models.clone_model(network, clone_function=clone)
    finally:
        network.compiled = compiled
    for layer in network.layers:  # by name: a copy may list its layers in another order
        if not layer.weights:
            continue
        ours = copy.get_layer(layer.name)
        ours.set_weights(layer.get_weights())
        for mine, theirs in zip(ours.weights, layer.weights, strict=True):
            mine.trainable = theirs.trainable
        if isinstance(ours, keras.layers.Normalization):
            ours.finalize_state()  # it computes with constants made of its weights
    return copy


def replace_layers(network: Any, classes: Mapping[str, Any]) -> Any:
    """The same network, its layers of these names made layers of these subclasses of what they are.

    They differ by ``call`` alone. A copy with other layers would take as long as building the network.
    """
    for name, layer_class in classes.items():
        network.get_layer(name).__class__ = layer_class
    return network


def check_crops(crops: np.ndarray, size: int) -> np.ndarray:
    """The same array, if it is ``(n, size, size, 3) uint8``; otherwise ``UsageError`` says what it is."""
    if crops.dtype != np.uint8:
        raise UsageError(
            f"crops must be uint8 RGB in 0..255, got {crops.dtype}; do not divide by 255 or normalise: "
            "the network does that inside"
        )
    if crops.ndim != 4 or crops.shape[1:] != (size, size, 3):
        raise UsageError(f"crops must have shape (n, {size}, {size}, 3), got {crops.shape}")
    return crops


def score_in_batches(
    crops: np.ndarray, size: int, batch: int, forward: Callable[[np.ndarray], Any]
) -> np.ndarray:
    """Scores ``(n,) float64`` of crops ``(n, size, size, 3) uint8 RGB``.

    ``forward`` takes ``batch`` crops and gives ``(batch, 1)``. Any other type or shape raises ``UsageError``.
    Every batch has the one shape (the last is padded and cut), so a crop's score does not depend on what else
    is scored with it.
    """
    check_crops(crops, size)
    scores = np.empty(len(crops), np.float64)
    for start in range(0, len(crops), batch):
        together = crops[start : start + batch]
        count = len(together)
        if count < batch:
            together = np.concatenate([together, np.zeros((batch - count, *together.shape[1:]), np.uint8)])
        scores[start : start + count] = np.asarray(forward(together))[:count, 0]
    return check_scores(scores)


def check_scores(scores: np.ndarray) -> np.ndarray:
    """The same ``(n,)``; ``UsageError`` where one is no number from 0 to 1."""
    wrong = scores[~((scores >= 0) & (scores <= 1))]
    if len(wrong):
        raise UsageError(
            f"the network gives {wrong[0]:.4g} for a crop, expected a number from 0 to 1; it is damaged, or "
            "was adopted with a wrong key of foreign (docs/adopt.md)"
        )
    return scores


def check_contract(network: Any, size: int, where: str) -> None:
    """Raise ``UsageError`` unless a loaded network takes and gives what ``build_network`` promises."""
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    kinds = [str(tensor.dtype) for tensor in network.inputs]
    if shapes != [(None, size, size, 3)] or kinds != ["uint8"]:
        raise UsageError(
            f"{where}: the network takes {kinds} {shapes}, expected one uint8 input "
            f"(None, {size}, {size}, 3); train it again with this version"
        )
    if tuple(network.output_shape) != (None, 1):
        raise UsageError(f"{where}: the network gives {network.output_shape}, expected one score a crop")


def check_weights(config: ModelConfig, storage: Storage, size: int = INPUT_SIZE) -> None:
    """Raise ``UsageError`` early where ``model.weights`` cannot be had; ImageNet's go into Keras' cache.

    ``size``: side of the crops in pixels; said where the backbone takes pictures of one other size alone.
    """
    weights = config.weights
    if hub.is_hub(config.backbone):
        side = hub_preset.load_preset(config, storage, size).backbone.image_shape[0]
        if side != size:
            log.warning(
                "%s takes pictures of %d pixels: crops of %d are resized inside the network, which "
                "jobs/preprocess.py --crop.size %d spares them",
                config.backbone, side, size, side,
            )  # fmt: skip
        return
    if weights == "none":
        return
    if weights == "imagenet":
        _make_backbone(keras_runtime.start_keras(), None, config, storage, size)
        return
    if not weights.endswith(WEIGHTS_SUFFIX):
        raise UsageError(f"model.weights {weights}: expected imagenet, none or a file *{WEIGHTS_SUFFIX}")
    if not storage.exists(weights):
        raise UsageError(f"model.weights {weights}: no such file; {_name_remedy(config)}")


def _name_by_place(layers: Sequence[Any]) -> None:
    """Rename layers with weights that Keras named by how many it had made before in this process.

    Copies of a network, in other processes too, find each other's weights by the layers' names.
    """
    named_by_count = re.compile(r"(conv2d|batch_normalization)(_\d+)?")
    for place, layer in enumerate(layers):
        if layer.weights and (match := named_by_count.fullmatch(layer.name)):
            layer.name = f"backbone_{match[1]}_{place}"


def _name_remedy(config: ModelConfig) -> str:
    return (
        "give --model.weights none (random) or --model.weights PATH of a *.weights.h5 file of "
        f"{config.backbone} without top"
    )


def _make_backbone(keras: Any, crop: Any, config: ModelConfig, storage: Storage, size: int) -> Any:
    facts, weights = BACKBONES[config.backbone], config.weights

    def make(source: str | None) -> Any:
        made = facts.find_constructor(keras)(
            include_top=False,
            weights=source,
            input_tensor=crop,
            input_shape=(size, size, 3),
            **facts.options,
        )
        _name_by_place(made.layers)
        return made

    if weights == "none":
        return make(None)
    if weights == "imagenet":
        try:
            return make("imagenet")
        except Exception as error:  # Keras wraps every download error in a bare Exception
            raise UsageError(
                f"model.weights imagenet: could not be downloaded ({error}); {_name_remedy(config)}"
            ) from error
    check_weights(config, storage, size)
    with make_temporary_folder() as folder:
        local = folder / f"backbone{WEIGHTS_SUFFIX}"
        local.write_bytes(storage.read_bytes(weights))
        try:
            return make(str(local))
        except (ValueError, OSError, KeyError) as error:
            why = str(error).split("\n")[0][:200]  # Keras goes on with the weights themselves
            raise UsageError(
                f"model.weights {weights}: not the weights of {config.backbone} without top ({why}); "
                "model.backbone says which network it is"
            ) from error
