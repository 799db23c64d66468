"""The network."""

import re
from typing import Literal

from pydantic import Field, field_validator

from deepfake.config.base import Fraction, Section

_V2 = ("b0", "b1", "b2", "b3", "s", "m", "l")
CONV_BACKBONES = (
    *(f"efficientnetb{number}" for number in range(8)), *(f"efficientnetv2{one}" for one in _V2),
    "mobilenet025", "mobilenet", "mobilenetv2", "mobilenetv3small", "mobilenetv3large",
    *(f"resnet{depth}{version}" for version in ("", "v2") for depth in (50, 101, 152)),
    *(f"densenet{depth}" for depth in (121, 169, 201)), "vgg16", "vgg19", "xception", "inceptionv3",
    "meso4", "mesoinception4",
)  # fmt: skip
HUB_FAMILIES = ("clip", "dinov2", "dinov3", "siglip", "siglip2", "vit")
_HUB_BACKBONE = re.compile(rf"kerashub:(?:{'|'.join(HUB_FAMILIES)})_\w+", re.ASCII)


class ModelConfig(Section):
    """A backbone of keras.applications or KerasHub, or a MesoNet, and its head."""

    backbone: str = Field(
        "efficientnetb0",
        description=f"the network before the head: {', '.join(CONV_BACKBONES)}; mobilenet025 "
        "has a quarter of MobileNet's channels; with the "
        "extra deepfake[hub] also kerashub:PRESET, such as kerashub:clip_vit_large_patch14, of the families "
        f"{', '.join(HUB_FAMILIES)}",
    )
    weights: str = Field(
        "imagenet",
        description="where training starts: pretrained (or imagenet), none, the backbone's .weights.h5 file "
        "(no top), the folder of a preset of KerasHub, or that of a bundle, whose head is taken, too",
    )
    input_mode: Literal["own", "tf", "torch", "caffe"] = Field(
        "own",
        description="what the backbone's weights take: own: what keras.applications trained that network "
        "on; otherwise, for a file of other weights, what its preprocess_input calls tf (-1 to 1), torch (by "
        "ImageNet's mean and deviation) or caffe (BGR less ImageNet's mean)",
    )
    head: Literal["mlp", "sphere"] = Field(
        "mlp",
        description="mlp: norm, dropout, a hidden dense layer and again; sphere: the features at unit length "
        "and nothing between them and the score, without the five keys that follow but the last",
    )
    dense_units: int = Field(256, ge=1, description="width of the hidden dense layer")
    l2: float = Field(1e-3, ge=0, description="L2 penalty on the hidden dense layer's kernel")
    dropout: Fraction = Field(0.5, description="dropout before the hidden layer")
    head_dropout: Fraction = Field(0.3, description="dropout before the output")
    drop_connect: Fraction = Field(
        0.2,
        description="stochastic depth of the last block of an EfficientNet, which others have none of; off "
        "where the backbone is frozen",
    )

    @field_validator("backbone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in CONV_BACKBONES and not _HUB_BACKBONE.fullmatch(value):
            hub = ", ".join(f"kerashub:{family}_..." for family in HUB_FAMILIES)
            raise ValueError(f"expected one of {', '.join(CONV_BACKBONES)}, {hub}")
        return value

    @field_validator("weights")
    @classmethod
    def _one_word_for_what_keras_has(cls, value: str) -> str:
        return "imagenet" if value == "pretrained" else value
