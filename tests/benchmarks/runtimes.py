"""Crops a second of a bundle's network on each runtime of this machine, measured in turn; asserts nothing.

python -m tests.benchmarks.runtimes BUNDLE [--threads 1] [--runs 3] [--crops FOLDER]

TensorFlow and OpenVINO come with the project. ONNX Runtime (with tf2onnx) and LiteRT are measured where
they are installed. The crops are those of ``deepfake.model.inference.make_probes`` or images of a folder.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from deepfake.model import inference, keras_runtime, openvino_graph
from deepfake.model.bundle import Bundle
from deepfake.model.network import INPUT_SIZE

CROPS = 64
Score = Callable[[np.ndarray], np.ndarray]


def say(line: str) -> None:
    """One line at once, so that a slow step is seen."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tensorflow(bundle: Bundle, threads: int) -> Iterator[tuple[str, Score]]:
    """A ``tf.function`` of a fixed batch, and what Keras does by itself."""
    bundle.batch_size = 32
    yield "TensorFlow tf.function, 32", bundle.score
    yield "Keras predict, 32", lambda crops: bundle.network.predict(crops, 32, verbose=0)[:, 0]


def openvino(bundle: Bundle, threads: int) -> Iterator[tuple[str, Score]]:
    """As the project uses it, and with larger batches."""
    graph = inference.export_openvino(bundle)
    yield "OpenVINO, 1", openvino_graph.OpenVinoScorer(graph, INPUT_SIZE, threads).score
    for batch in (8, 32):
        yield f"OpenVINO, {batch}", batched(openvino_request(graph, threads, batch), batch)


def openvino_request(graph: bytes, threads: int, batch: int) -> Score:
    """A network of another batch size, otherwise compiled as ``OpenVinoScorer`` does."""
    request = openvino_graph.compile_graph(graph, INPUT_SIZE, threads, batch)
    return lambda crops: request.infer([crops])[0][:, 0].copy()


def onnxruntime(bundle: Bundle, threads: int) -> Iterator[tuple[str, Score]]:
    """From the frozen graph: of Keras' own export, constants become inputs that nobody feeds."""
    import onnxruntime as ort
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    frozen = convert_variables_to_constants_v2(bundle.make_concrete_function(None))
    converted, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[tensor.name for tensor in frozen.inputs],
        output_names=[tensor.name for tensor in frozen.outputs],
    )
    session = ort.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for batch in (1, 16):
        yield (
            f"ONNX Runtime, {batch}",
            batched(lambda crops: session.run(None, {name: crops})[0][:, 0], batch),
        )


def litert(bundle: Bundle, threads: int) -> Iterator[tuple[str, Score]]:
    """TensorFlow's converter and LiteRT's interpreter with XNNPACK."""
    import tensorflow as tf

    if importlib.util.find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    else:
        Interpreter = tf.lite.Interpreter
    for batch in (1, 16):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([bundle.make_concrete_function(batch)])
        interpreter = Interpreter(model_content=converter.convert(), num_threads=threads)
        interpreter.allocate_tensors()
        source, target = (
            detail[0]["index"]
            for detail in (interpreter.get_input_details(), interpreter.get_output_details())
        )

        def run(crops: np.ndarray, interpreter=interpreter, source=source, target=target) -> np.ndarray:  # type: ignore[no-untyped-def]
            interpreter.set_tensor(source, crops)
            interpreter.invoke()
            return interpreter.get_tensor(target)[:, 0].copy()

        yield f"LiteRT, {batch}", batched(run, batch)


def batched(score: Score, batch: int) -> Score:
    """The same for any number of crops that the batch divides."""
    return lambda crops: np.concatenate([score(crops[i : i + batch]) for i in range(0, len(crops), batch)])


def pictures(folder: str | None) -> np.ndarray:
    """(CROPS, 224, 224, 3) uint8 RGB."""
    if folder is None:
        return np.resize(inference.make_probes(), (CROPS, INPUT_SIZE, INPUT_SIZE, 3))
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".jpg", ".png"))[:CROPS]
    images = [cv2.resize(cv2.imread(str(file)), (INPUT_SIZE, INPUT_SIZE))[..., ::-1] for file in files]
    return np.resize(np.stack(images), (CROPS, INPUT_SIZE, INPUT_SIZE, 3))


def main() -> None:
    """Measure everything in turn, so often, and say medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--crops", default=None)
    options = parser.parse_args()
    keras_runtime.start_keras(threads=options.threads)
    bundle, crops = Bundle.load(options.bundle), pictures(options.crops)
    contestants: dict[str, Score] = {}
    for make in (tensorflow, openvino, onnxruntime, litert):
        try:
            contestants |= dict(make(bundle, options.threads))
        except ImportError as error:
            say(f"{make.__name__}: left out, {error}")
    expected = bundle.score(crops)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for score in contestants.values():
        score(crops)  # the first use of each compiles
    for _ in range(options.runs):
        for name, score in contestants.items():
            started = time.perf_counter()
            score(crops)
            seconds[name].append(time.perf_counter() - started)
    say(f"{options.threads} threads, {len(crops)} crops, medians of {options.runs} runs in turn")
    for name, score in contestants.items():
        rate = len(crops) / statistics.median(seconds[name])
        difference = float(np.max(np.abs(score(crops) - expected)))
        say(f"{name:<28} {rate:7.1f} crops/s   largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
