"""Detectors that were made elsewhere, as networks that take our crops and give our scores.

What a detector expects of a picture, and what its answer means, is built into the network, so that nothing
outside has to know. Nothing of a foreign file is run but the operations of Keras, in safe mode, or of ONNX,
which OpenVINO first reads and runs in a process of its own, within bounds of memory and time.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.config import ForeignConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.model import inference, keras_runtime, openvino_graph
from deepfake.model.bundle import load_keras_network
from deepfake.model.network import INPUT_LAYER

_NEEDED = ("openvino", "onnx", "onnxruntime")
# Of the process that converts and scores one crop.
CONVERSION_MB, CONVERSION_SECONDS = 4096, 300.0
_KEYS, _ASKED, _MADE, _REFUSED = "foreign.json", "detector.onnx", "graph.zip", "refused.txt"


def wrap_keras(data: bytes, where: str, config: ForeignConfig, size: int, megabytes: int) -> Any:
    """The content of a ``.keras`` file as a ``keras.Model`` of crops ``(n, size, size, 3) uint8 RGB``.

    It gives ``(n, 1) float32`` in [0, 1], 1 for fake. Raises ``UsageError`` where the file has more than
    ``megabytes`` (MiB) unpacked, has code or layers of its own, or another kind of input or output.
    """
    keras = keras_runtime.start_keras()
    layers, ops = keras.layers, keras.ops
    network = load_keras_network(data, where, megabytes, "save it from layers of Keras alone: docs/adopt.md")
    shapes = [tuple(tensor.shape) for tensor in network.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3 or shapes[0][0] is not None:
        raise UsageError(f"{where}: takes {shapes}, expected pictures (None, side, side, 3)")
    answers = [tuple(tensor.shape) for tensor in network.outputs]
    if answers not in ([(None, 1)], [(None, 2)]):
        raise UsageError(f"{where}: gives {answers}, expected one or two numbers a picture")
    side = _choose_side(shapes[0][1:3], config, where)
    x = crop = keras.Input((size, size, 3), dtype="uint8", name=INPUT_LAYER)
    if edge := _measure_edge(config, size):
        x = layers.Cropping2D(edge)(x)
    # Not layers.Resizing, which makes what follows train where nobody says whether it is to.
    x = ops.image.resize(ops.cast(x, "float32"), (side, side), interpolation="bilinear")
    if config.order == "BGR":
        x = ops.flip(x, axis=-1)
    factors, offsets = config.compute_scale()
    x = network(layers.Rescaling(factors, offsets)(x))
    if answers == [(None, 2)]:
        x = layers.Softmax()(x) if config.output == "logit" else x
        x = x[:, 1:] if config.fake == 1 else x[:, :1]
    else:
        x = layers.Activation("sigmoid")(x) if config.output == "logit" else x
        x = 1.0 - x if config.fake == 0 else x
    return keras.Model(crop, x, name="adopted")


def convert_apart(data: bytes, where: str, config: ForeignConfig, size: int) -> bytes:
    """``convert_onnx`` in a process of its own, which also scores a crop with what it made.

    Raises ``UsageError`` where that takes too much memory or time, or gives no score, too.
    """
    with make_temporary_folder() as folder:
        (folder / _ASKED).write_bytes(data)
        (folder / _KEYS).write_text(config.model_dump_json())
        program = [sys.executable, "-P", "-m", __name__, str(folder), where, str(size), str(CONVERSION_MB)]
        places = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            ended = subprocess.run(program, env={**os.environ, **places}, timeout=CONVERSION_SECONDS)
        except subprocess.TimeoutExpired:
            words = f"{where}: OpenVINO did not convert it and score a crop in {CONVERSION_SECONDS:g} s"
            raise UsageError(words) from None
        if (folder / _REFUSED).exists():
            raise UsageError(Storage().read_text(str(folder / _REFUSED))[:1000])
        if ended.returncode:
            raise UsageError(
                f"{where}: OpenVINO did not convert it and score a crop within {CONVERSION_MB} MiB (its "
                f"process ended with {ended.returncode})"
            )
        return Storage().read_at_most(str(folder / _MADE), CONVERSION_MB * 2**20)


def _leave_graph(folder: Path, where: str, size: int, megabytes: int) -> None:
    """Of the process of its own: leave a graph, or why there is none."""
    from deepfake.crops.sandbox_server import bound_memory, die_with_parent

    die_with_parent()
    config = ForeignConfig.model_validate_json((folder / _KEYS).read_bytes())
    try:
        openvino_graph.import_openvino()
        bound_memory(megabytes)
        graph = convert_onnx((folder / _ASKED).read_bytes(), where, config, size)
        openvino_graph.OpenVinoScorer(graph, size, threads=1).score(inference.make_probes(size)[-1:])
        (folder / _MADE).write_bytes(graph)
    except UsageError as error:
        words = str(error)
        (folder / _REFUSED).write_text(words if words.startswith(where) else f"{where}: {words}")
    except (
        RuntimeError,
        MemoryError,
    ) as error:  # OpenVINO's own, of a network that cannot be compiled or run
        words = (str(error).strip().splitlines() or ["no memory"])[-1][:300]
        (folder / _REFUSED).write_text(f"{where}: OpenVINO cannot score a crop with it ({words})")


def convert_onnx(data: bytes, where: str, config: ForeignConfig, size: int) -> bytes:
    """The content of an ONNX file as a packed graph of OpenVINO, of crops to scores as ``wrap_keras``'s.

    Raises ``UsageError`` where it refers to other files, has operations that are not ONNX's own, or another
    kind of input or output, or where what reads it is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"an ONNX file takes {', '.join(missing)}: pip install 'deepfake[cpu,export]'")
    _refuse_other_files(data, where)
    openvino = openvino_graph.import_openvino()
    try:
        network = openvino.Core().read_model(data)
    except RuntimeError as error:
        unknown = [line.strip(" -") for line in str(error).splitlines() if "No conversion rule" in line]
        words = (unknown or [line for line in str(error).splitlines() if line.strip()][-1:])[0][:300]
        raise UsageError(f"{where}: not a network of ONNX's own operations ({words})") from None
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise UsageError(
            f"{where}: has {len(network.inputs)} inputs and {len(network.outputs)} outputs, expected one each"
        )
    shape = _list_sides(network.input(0).partial_shape)
    if len(shape) != 4 or shape[0] not in (None, 1) or (shape[1] != 3 and shape[3] != 3):
        raise UsageError(f"{where}: takes {shape}, expected (1, 3, side, side) or (1, side, side, 3)")
    channels_first = shape[1] == 3
    side = _choose_side(shape[2:] if channels_first else shape[1:3], config, where)
    _join_crops(network, config, size, side, channels_first, where)
    return openvino_graph.pack(network)


def _join_crops(
    network: Any, config: ForeignConfig, size: int, side: int, channels_first: bool, where: str
) -> None:
    """Put what makes the input of crops before an ``openvino.Model``, and the score behind it."""
    openvino = openvino_graph.import_openvino()
    ops = openvino.opset13

    def number(*values: Any, kind: Any = np.int64) -> Any:
        return ops.constant(np.array(values[0] if len(values) == 1 else values, kind))

    (taken,) = network.get_parameters()
    # One at a time: OpenVINO scores them so here, and networks of a fixed batch can.
    crop = ops.parameter([1, size, size, 3], np.uint8, name=INPUT_LAYER)
    edge = _measure_edge(config, size)
    x = ops.slice(crop, number(edge, edge), number(size - edge, size - edge), number(1, 1), number(1, 2))
    x = ops.transpose(ops.convert(x, "f32"), number(0, 3, 1, 2))
    if config.order == "BGR":
        x = ops.gather(x, number(2, 1, 0), number(1))
    if side != size - 2 * edge:
        x = ops.interpolate(x, number(side, side), "linear_onnx", "sizes", axes=number(2, 3))
    for step, values in zip((ops.multiply, ops.add), config.compute_scale(), strict=True):
        x = step(x, number(np.reshape(values, (1, 3, 1, 1)), kind=np.float32))
    if not channels_first:
        x = ops.transpose(x, number(0, 2, 3, 1))
    x = ops.convert(x, taken.get_element_type())
    for target in taken.output(0).get_target_inputs():
        target.replace_source_output(x.output(0))
    (given,) = network.get_results()
    x = ops.convert(given.input_value(0), "f32")
    network.add_parameters([crop])
    network.remove_parameter(taken)
    network.validate_nodes_and_infer_types()
    answer = _list_sides(given.output(0).partial_shape)
    if answer[0] not in (None, 1) or answer[1:] not in ([], [1], [2]):
        raise UsageError(f"{where}: gives {answer}, expected one or two numbers a picture")
    x = ops.reshape(x, number(1, 2 if answer[1:] == [2] else 1), special_zero=False)
    if answer[1:] == [2]:
        x = ops.softmax(x, 1) if config.output == "logit" else x
        x = ops.gather(x, number([config.fake]), number(1))
    else:
        x = ops.sigmoid(x) if config.output == "logit" else x
        x = ops.subtract(number(1.0, kind=np.float32), x) if config.fake == 0 else x
    network.add_results([ops.result(x)])
    network.remove_result(given)
    network.validate_nodes_and_infer_types()


def _measure_edge(config: ForeignConfig, size: int) -> int:
    """Pixels of a crop that are cut off at each side."""
    return round(size * (1 - config.share) / 2)


def _choose_side(sides: Any, config: ForeignConfig, where: str) -> int:
    """The side of the detector's input, of what its file says (None where it says nothing)."""
    told = {side for side in sides if side is not None}
    if len(told) > 1:
        raise UsageError(f"{where}: takes pictures of {' x '.join(map(str, sides))}, which are no squares")
    if not told and config.size is None:
        raise UsageError(f"{where}: takes pictures of any size; --foreign.size says which it was trained on")
    side: int | None = told.pop() if told else config.size
    assert side is not None
    if config.size not in (None, side):
        raise UsageError(f"{where}: takes pictures of {side} pixels, foreign.size is {config.size}")
    return side


def _list_sides(shape: Any) -> list[int | None]:
    """An ``openvino.PartialShape`` as sides; None for those that are not fixed."""
    if shape.rank.is_dynamic:
        return []
    return [side.get_length() if side.is_static else None for side in shape]


def _refuse_other_files(data: bytes, where: str) -> None:
    """Raise ``UsageError`` where tensors of an ONNX file lie in other files, which would be opened."""
    import onnx
    from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

    try:
        waiting: list[Any] = [onnx.ModelProto.FromString(data)]
    except DecodeError:
        raise UsageError(f"{where}: not an ONNX file") from None
    while waiting:
        message = waiting.pop()
        if isinstance(message, onnx.TensorProto) and message.external_data:
            raise UsageError(
                f"{where}: its weights are in other files, which are not read; save it as one file: "
                "torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(PATH), NEW_PATH)"
            )
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else list(value)


if __name__ == "__main__":
    _leave_graph(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
