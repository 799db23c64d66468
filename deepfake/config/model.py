"""The network."""

from pydantic import Field

from deepfake.config.base import Fraction, Section


class ModelConfig(Section):
    """EfficientNetB0 and its head."""

    weights: str = Field(
        "imagenet", description="imagenet, none, or the path of a backbone .weights.h5 file (no top)"
    )
    dense_units: int = Field(256, ge=1, description="width of the hidden dense layer")
    l2: float = Field(1e-3, ge=0, description="L2 penalty on the hidden dense layer's kernel")
    dropout: Fraction = Field(0.5, description="dropout before the hidden layer")
    head_dropout: Fraction = Field(0.3, description="dropout before the output")
    drop_connect: Fraction = Field(
        0.2, description="stochastic depth of the backbone's last block; off where the backbone is frozen"
    )
