"""The networks of ``keras.applications``, and MesoNets, that may stand before the head; the facts of each.

How 0..255 RGB becomes a network's input is a fact of the network and the weights, and is done inside it: the
layers outside know no scale and no order of colours. The modes are those of Keras
(``keras.applications.imagenet_utils.preprocess_input``): ``tf``, -1 to 1; ``torch``, 0 to 1, less ImageNet's
mean, by its deviation; ``caffe``, BGR less ImageNet's mean. ``inside``: the network's own first layers take
0..255 RGB. Tests compare each network with its own ``preprocess_input``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deepfake.config import ModelConfig, TrainingConfig
from deepfake.errors import UsageError
from deepfake.model import mesonet
from deepfake.model.hub import is_hub, require_hub

Mode = Literal["inside", "tf", "torch", "caffe"]
SCALE_LAYER = "input_scale"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # of BGR in 0..255
# scale and offset of what each mode makes of 0..255, BGR for caffe
_SCALES: Mapping[str, tuple[Any, Any]] = {
    "tf": (1 / 127.5, -1.0),
    "torch": (
        [1 / (255 * deviation) for deviation in _DEVIATION],
        [-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)],
    ),
    "caffe": (1.0, [-mean for mean in _CAFFE_MEAN]),
}


@dataclass(frozen=True)
class Backbone:
    """One network. Its last layer's output, mostly 7 x 7 places, is pooled, and shown by heat maps."""

    constructor: str  # in keras.applications, or in deepfake.model.mesonet
    mode: Mode
    block: str  # what the names of a numbered block's layers begin with; the group is the number
    blocks: tuple[int, int]  # the first and the last number
    batch_norm: bool = True  # whether it has any
    drop_connect: float = 0.0  # stochastic depth of the last block, by dropout layers, as Keras builds it
    options: Mapping[str, Any] = field(default_factory=dict)
    has_imagenet: bool = True  # whether Keras has it, and weights that were trained on ImageNet
    is_named_at_its_end: bool = False  # whether a block's number stands on its last layer alone

    def find_constructor(self, keras: Any) -> Callable[..., Any]:
        """What builds it, called as those of ``keras.applications`` are."""
        made: Callable[..., Any] = getattr(
            keras.applications if self.has_imagenet else mesonet, self.constructor
        )
        return made

    def count_blocks(self) -> int:
        """How many blocks ``training.fine_tune: top`` can take."""
        return self.blocks[1] - self.blocks[0] + 1

    def list_top(self, names: Sequence[str], blocks: int) -> set[str]:
        """The layers of the last blocks and those after them, of layers in the network's order."""
        number, found = self.blocks[0] - 1, set()  # a layer without a number is of the block before it
        if self.is_named_at_its_end:  # or of that behind it
            number, names = self.blocks[1], names[::-1]
        for name in names:
            match = re.match(self.block, name)
            number = int(match[1]) if match else number
            if number > self.blocks[1] - blocks:
                found.add(name)
        return found


def _make_efficientnet(version: str, blocks: int) -> Backbone:
    return Backbone(f"EfficientNet{version}", "inside", r"block(\d)", (1, blocks), drop_connect=0.2)


_V2 = {"B0": 6, "B1": 6, "B2": 6, "B3": 6, "S": 6, "M": 7, "L": 7}  # blocks
_PLAIN = (r"block(\d)_", (1, 5))
_RESIDUAL = (r"conv(\d)_block", (2, 5))
_SEPARABLE = (r"conv_(?:dw|pw)_(\d+)", (1, 13))
BACKBONES: Mapping[str, Backbone] = {
    **{f"efficientnetb{number}": _make_efficientnet(f"B{number}", 7) for number in range(8)},
    **{f"efficientnetv2{one.lower()}": _make_efficientnet(f"V2{one}", blocks) for one, blocks in _V2.items()},
    "mobilenet025": Backbone("MobileNet", "tf", *_SEPARABLE, options={"alpha": 0.25}),
    "mobilenet": Backbone("MobileNet", "tf", *_SEPARABLE),
    "mobilenetv2": Backbone("MobileNetV2", "tf", r"block_(\d+)_", (1, 16)),
    "mobilenetv3small": Backbone("MobileNetV3Small", "inside", r"expanded_conv_(\d+)_", (1, 10)),
    "mobilenetv3large": Backbone("MobileNetV3Large", "inside", r"expanded_conv_(\d+)_", (1, 14)),
    **{f"resnet{depth}": Backbone(f"ResNet{depth}", "caffe", *_RESIDUAL) for depth in (50, 101, 152)},
    **{f"resnet{depth}v2": Backbone(f"ResNet{depth}V2", "tf", *_RESIDUAL) for depth in (50, 101, 152)},
    **{f"densenet{depth}": Backbone(f"DenseNet{depth}", "torch", *_RESIDUAL) for depth in (121, 169, 201)},
    **{f"vgg{depth}": Backbone(f"VGG{depth}", "caffe", *_PLAIN, batch_norm=False) for depth in (16, 19)},
    "xception": Backbone("Xception", "tf", r"block(\d+)_", (1, 14)),
    "inceptionv3": Backbone("InceptionV3", "tf", r"mixed(\d+)$", (0, 10), is_named_at_its_end=True),
    **{
        name.lower(): Backbone(name, "tf", r"block(\d)_", (1, 4), has_imagenet=False)
        for name in ("Meso4", "MesoInception4")
    },
}


def scale_input(keras: Any, crop: Any, config: ModelConfig) -> Any:
    """What the backbone takes of ``crop (n, h, w, 3)``, RGB in 0..255, by standard layers."""
    mode: str = BACKBONES[config.backbone].mode if config.input_mode == "own" else config.input_mode
    if mode == "inside":
        return crop
    if mode == "caffe":
        crop = keras.ops.flip(crop, axis=-1)
    scale, offset = _SCALES[mode]
    return keras.layers.Rescaling(scale, offset, name=SCALE_LAYER)(crop)


def check_backbone(config: ModelConfig, training: TrainingConfig) -> None:
    """Raise ``UsageError`` where another key's value does not fit the backbone, or it is not installed."""
    if is_hub(config.backbone):
        if config.input_mode != "own":
            raise UsageError(
                f"model.input_mode {config.input_mode}: {config.backbone} says itself; leave it out"
            )
        require_hub(f"model.backbone {config.backbone}")
        return
    backbone = BACKBONES[config.backbone]
    if config.weights == "imagenet" and not backbone.has_imagenet:
        raise UsageError(
            f"model.weights imagenet: {config.backbone} was never trained on it; give --model.weights none, "
            "and --training.head_epochs 0, since random weights have no features to keep"
        )
    if training.fine_tune_blocks > backbone.count_blocks():
        raise UsageError(
            f"training.fine_tune_blocks {training.fine_tune_blocks}: {config.backbone} has "
            f"{backbone.count_blocks()}"
        )
    learns = training.fine_tune != "none" and not training.freeze_batch_norm and backbone.batch_norm
    if training.accumulate > 1 and learns:
        raise UsageError(
            f"training.accumulate {training.accumulate} needs training.freeze_batch_norm true: statistics of "
            f"parts of a batch are not those of the batch, and {config.backbone} has BatchNorm"
        )
    if backbone.mode == "inside" and config.input_mode != "own":
        raise UsageError(
            f"model.input_mode {config.input_mode}: {config.backbone} scales its own input, which would be "
            "scaled twice; leave it out"
        )
