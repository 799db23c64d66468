"""A bundle's network in the formats that services and phones run, and how each is run here to be compared.

Written by Keras' own export where that can be run: its ONNX makes inputs, which nobody feeds, of a network's
constants, such as EfficientNet's first layer has. Each takes crops ``(n, size, size, 3) uint8 RGB`` and
gives scores.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.errors import UsageError
from deepfake.model import openvino_graph
from deepfake.model.bundle import Bundle

Run = Callable[[np.ndarray], np.ndarray]  # crops (n, size, size, 3) uint8 to scores (n,)


def _run_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda crops: np.asarray(session.run(None, {name: crops})[0])[:, 0]


def _run_openvino(path: Path) -> Run:
    model = openvino_graph.import_openvino().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda crops: np.asarray(model(crops)[0])[:, 0]


def _run_litert(path: Path) -> Run:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())  # unasked it takes one
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(crops: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(taken["index"], crops.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], crops)
        interpreter.invoke()
        scores: np.ndarray = interpreter.get_tensor(given["index"])[:, 0]
        return scores

    return run


def _run_saved_model(path: Path) -> Run:
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(str(path))
    return lambda crops: np.asarray(loaded.serve(tf.constant(crops)))[:, 0]


@dataclass(frozen=True)
class Format:
    """One format."""

    keras_name: str  # of Keras' own export; "" where it is not used
    file: str  # or folder, in the output
    start: Callable[[Path], Run]
    modules: tuple[str, ...] = ()  # what writes and runs it, beside TensorFlow


FORMATS: Mapping[str, Format] = {
    "onnx": Format("", "model.onnx", _run_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format("", "model.xml", _run_openvino, ("openvino",)),
    "litert": Format("litert", "model.tflite", _run_litert),
    "saved_model": Format("tf_saved_model", "saved_model", _run_saved_model),
}


def require_modules(name: str) -> None:
    """``UsageError`` where what writes a format, or runs it, is not installed."""
    missing = [module for module in FORMATS[name].modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(f"--format {name} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def export_network(bundle: Bundle, name: str, folder: Path) -> Path:
    """Write the network into a folder; the path of what is loaded. ``name`` is one of ``FORMATS``."""
    path = folder / FORMATS[name].file
    if name == "openvino":
        openvino_graph.save(openvino_graph.convert(bundle.make_concrete_function(None)), path)
        return path
    if name == "onnx":
        _write_onnx(bundle, path)
        return path
    bundle.network.export(str(path), format=FORMATS[name].keras_name, verbose=False)
    return path


def _write_onnx(bundle: Bundle, path: Path) -> None:
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(bundle.make_concrete_function(None))
    names = {"input_names": frozen.inputs, "output_names": frozen.outputs}
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        output_path=str(path),
        **{key: [tensor.name for tensor in tensors] for key, tensors in names.items()},
    )
