"""Meso-4 and MesoInception-4, the small detectors of the field, for data and machines that carry no more.

Written from the paper's description: Afchar, Nozick, Yamagishi and Echizen, MesoNet: a Compact Facial Video
Forgery Detection Network (2018). Their two dense layers are the business of the head here, and it pools.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from deepfake.model import keras_runtime

Apply: TypeAlias = Callable[[Any], Any]  # of a tensor
# Channels of a module's branches: a 1 x 1 convolution, and 3 x 3 ones that reach 1, 2 and 3 pixels far.
_MODULES = ((1, 4, 4, 2), (2, 4, 4, 2))
# Of the norms: a training of some hundred steps ends before Keras' own 0.99 knows its features.
_MOMENTUM = 0.9


def Meso4(
    include_top: bool, weights: str | None, input_shape: tuple[int, int, int], input_tensor: Any = None
) -> Any:
    """A ``keras.Model`` whose output is ``(n, h / 32, w / 32, 16)``; arguments as in ``keras.applications``.

    ``weights``: None for random ones, or a file that ``save_weights`` wrote of this network.
    """
    keras = keras_runtime.start_keras()
    first = [_make_convolution(keras, "block1", 8, 3), _make_convolution(keras, "block2", 8, 5)]
    return _build(keras, first, include_top, weights, input_shape, input_tensor)


def MesoInception4(
    include_top: bool, weights: str | None, input_shape: tuple[int, int, int], input_tensor: Any = None
) -> Any:
    """The same with modules of four branches instead of the first two convolutions."""
    keras = keras_runtime.start_keras()
    first = [_make_module(keras, f"block{number}", one) for number, one in enumerate(_MODULES, 1)]
    return _build(keras, first, include_top, weights, input_shape, input_tensor)


def _build(
    keras: Any, first: list[Apply], include_top: bool, weights: str | None, shape: Any, crop: Any
) -> Any:
    if include_top:
        raise ValueError("the head comes from deepfake.model.network")
    x = keras.Input(shape) if crop is None else crop
    last = [_make_convolution(keras, f"block{number}", 16, 5) for number in (3, 4)]
    for number, (convolve, shrink) in enumerate(zip([*first, *last], (2, 2, 2, 4), strict=True), 1):
        x = keras.layers.BatchNormalization(momentum=_MOMENTUM, name=f"block{number}_norm")(convolve(x))
        x = keras.layers.MaxPooling2D(shrink, padding="same", name=f"block{number}_pool")(x)
    made = keras.Model(keras.utils.get_source_inputs(x)[0], x)
    if weights is not None:
        made.load_weights(weights)
    return made


def _make_convolution(keras: Any, name: str, channels: int, side: int, reach: int = 1) -> Apply:
    layer: Apply = keras.layers.Conv2D(
        channels, side, dilation_rate=reach, padding="same", activation="relu", name=f"{name}_conv"
    )
    return layer


def _make_module(keras: Any, name: str, channels: tuple[int, ...]) -> Apply:
    def branch(x: Any, reach: int) -> Any:
        count = channels[reach]
        x = _make_convolution(keras, f"{name}_{reach}a", count, 1)(x)
        return _make_convolution(keras, f"{name}_{reach}b", count, 3, reach)(x) if reach else x

    return lambda x: keras.layers.Concatenate(name=f"{name}_join")([branch(x, reach) for reach in range(4)])
