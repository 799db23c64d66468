"""A bundle's network in the formats that services and phones run, and how each is run here to be compared.

Written by Keras' own export, but for OpenVINO's. Each takes crops ``(n, 224, 224, 3) uint8 RGB``, gives
scores.
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
from deepfake.model.network import INPUT_SIZE

Run = Callable[[np.ndarray], np.ndarray]  # crops (n, 224, 224, 3) uint8 to scores (n,)


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

    keras_name: str  # of Keras' own export
    file: str  # or folder, in the output
    start: Callable[[Path], Run]
    modules: tuple[str, ...] = ()  # what writes and runs it, beside TensorFlow


FORMATS: Mapping[str, Format] = {
    "onnx": Format("onnx", "model.onnx", _run_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format("openvino", "model.xml", _run_openvino, ("openvino",)),
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
    bundle.network(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))  # ONNX takes one that has been called
    bundle.network.export(str(path), format=FORMATS[name].keras_name, verbose=False)
    return path
