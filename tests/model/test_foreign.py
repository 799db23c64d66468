"""A detector that was made elsewhere sees what its maker meant it to see, and means what he says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepfake.config import ForeignConfig
from deepfake.errors import UsageError
from deepfake.model import foreign, keras_runtime
from deepfake.model.network import check_contract
from deepfake.model.openvino_graph import OpenVinoScorer
from tests.stored_crops import picture

CROPS = np.stack([picture(number % 2, number) for number in range(4)])
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
WAYS: list[dict[str, Any]] = [
    {"values": "unit", "fake": 0},
    {"values": "bytes", "fake": 1, "order": "BGR", "share": 0.75},
    {"values": "unit", "fake": 1, "output": "logit", **IMAGENET},
    {"values": "signed", "fake": 0, "output": "logit", "share": 0.5, "order": "BGR", "std": [1.0, 2.0, 0.5]},
]


def show(crops: np.ndarray, side: int, way: dict[str, Any]) -> np.ndarray:
    """What a detector is to see, ``(n, side, side, 3) float32``, by OpenCV and plain arithmetic."""
    edge = round(224 * (1 - way.get("share", 1.0)) / 2)
    middle = crops[:, edge : 224 - edge, edge : 224 - edge].astype(np.float32)
    x = np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_LINEAR) for one in middle])
    x = x[..., ::-1] if way.get("order") == "BGR" else x
    low, high = {"bytes": (0, 255), "unit": (0, 1), "signed": (-1, 1)}[way["values"]]
    x = x / 255 * (high - low) + low
    return ((x - way.get("mean", [0.0] * 3)) / way.get("std", [1.0] * 3)).astype(np.float32)


def judge(answers: np.ndarray, way: dict[str, Any]) -> np.ndarray:
    """Scores ``(n,)``, 1 for fake, of a detector's answers ``(n, 1 or 2)``."""
    x = answers.astype(np.float64)
    if x.shape[1] == 2:
        x = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) if way.get("output") == "logit" else x
        return x[:, way["fake"]]
    x = 1 / (1 + np.exp(-x[:, 0])) if way.get("output") == "logit" else x[:, 0]
    return x if way["fake"] == 1 else 1 - x


def make_keras(side: int | None, outputs: int, way: dict[str, Any]) -> Any:
    """A detector whose answers differ from crop to crop."""
    keras = keras_runtime.start_keras(seed=2)
    last = None if way.get("output") == "logit" else ("sigmoid" if outputs == 1 else "softmax")
    parts = [
        keras.Input((side, side, 3)),
        keras.layers.Conv2D(4, 5, strides=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.UnitNormalization(),
        keras.layers.Dropout(0.9),
        keras.layers.Dense(outputs, activation=last),
    ]
    return keras.Sequential(parts)


def save(network: Any, path: Path) -> bytes:
    network.save(path)
    return path.read_bytes()


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way['values']}-{way['fake']}")
def test_a_keras_file_gives_its_own_answers_to_what_it_is_to_see(
    way: dict[str, Any], outputs: int, tmp_path: Path
) -> None:
    theirs = make_keras(112, outputs, way)
    data = save(theirs, tmp_path / "theirs.keras")
    ours = foreign.wrap_keras(data, "theirs.keras", ForeignConfig(**way), 224, 64)
    expected = judge(theirs(show(CROPS, 112, way)).numpy(), way)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(ours(CROPS).numpy()[:, 0], expected, atol=1e-5)

    keras = keras_runtime.start_keras()
    save(ours, tmp_path / "ours.keras")
    opened = keras.models.load_model(tmp_path / "ours.keras", safe_mode=True)
    check_contract(opened, 224, "ours.keras")
    np.testing.assert_array_equal(opened(CROPS).numpy(), ours(CROPS).numpy())


def test_the_size_is_told_where_the_file_does_not_and_only_there(tmp_path: Path) -> None:
    way = {"values": "unit", "fake": 1}
    free = save(make_keras(None, 1, way), tmp_path / "free.keras")
    with pytest.raises(UsageError, match=r"takes pictures of any size; --foreign\.size says"):
        foreign.wrap_keras(free, "free.keras", ForeignConfig(**way), 224, 64)
    ours = foreign.wrap_keras(free, "free.keras", ForeignConfig(**way, size=96), 224, 64)
    assert (None, 96, 96, 3) in [layer.output.shape for layer in ours.layers[:3]]
    fixed = save(make_keras(112, 1, way), tmp_path / "fixed.keras")
    with pytest.raises(UsageError, match=r"takes pictures of 112 pixels, foreign\.size is 96"):
        foreign.wrap_keras(fixed, "fixed.keras", ForeignConfig(**way, size=96), 224, 64)


def test_a_keras_file_with_code_or_another_answer_is_refused(tmp_path: Path) -> None:
    keras = keras_runtime.start_keras()
    told = ForeignConfig(values="unit", fake=1)
    picture_input = keras.Input((64, 64, 3))
    code = keras.Model(picture_input, keras.layers.Lambda(lambda x: x[:, 0, 0, :1])(picture_input))
    with pytest.raises(UsageError, match=r"no code .*docs/adopt\.md"):
        foreign.wrap_keras(save(code, tmp_path / "code.keras"), "code.keras", told, 224, 64)
    many = keras.Model(picture_input, keras.layers.GlobalAveragePooling2D()(picture_input))
    with pytest.raises(UsageError, match=r"gives \[\(None, 3\)\], expected one or two numbers"):
        foreign.wrap_keras(save(many, tmp_path / "many.keras"), "many.keras", told, 224, 64)
    with pytest.raises(UsageError, match="not a network that loads"):
        foreign.wrap_keras(b"PK nothing", "none.keras", told, 224, 64)


def make_onnx(
    layout: str, outputs: int, way: dict[str, Any], side: int | str = 112, **changes: Any
) -> onnx.ModelProto:
    """The same detector as ``make_keras`` makes, less the norm, by ONNX's own operations."""
    random = np.random.default_rng(3)
    weights = {
        "kernel": random.normal(size=(4, 3, 5, 5)).astype(np.float32) / 100,
        "dense": random.normal(size=(4, outputs)).astype(np.float32) / 10,
    }
    shape = ["n", 3, side, side] if layout == "NCHW" else [1, side, side, 3]
    first = [] if layout == "NCHW" else [helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2])]
    nodes = [
        *first,
        helper.make_node("Conv", ["x" if first else "image", "kernel"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "dense"], ["answer" if way.get("output") == "logit" else "m"]),
    ]
    if way.get("output") != "logit":
        nodes.append(helper.make_node("Sigmoid" if outputs == 1 else "Softmax", ["m"], ["answer"]))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [shape[0], outputs])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, **changes)


@pytest.mark.parametrize(("layout", "outputs"), [("NCHW", 2), ("NCHW", 1), ("NHWC", 1)])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way['values']}-{way['fake']}")
def test_an_onnx_file_gives_what_onnx_runtime_does(way: dict[str, Any], layout: str, outputs: int) -> None:
    data = make_onnx(layout, outputs, way).SerializeToString()
    graph = foreign.convert_onnx(data, "theirs.onnx", ForeignConfig(**way), 224)
    seen = show(CROPS, 112, way)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    answers = [
        session.run(None, {"image": one[None] if layout == "NHWC" else one[None].transpose(0, 3, 1, 2)})[0]
        for one in seen
    ]
    expected = judge(np.concatenate(answers), way)
    assert np.ptp(expected) > 1e-4
    np.testing.assert_allclose(OpenVinoScorer(graph, 224, threads=1).score(CROPS), expected, atol=1e-5)


def test_an_onnx_file_that_would_open_other_files_or_has_operations_of_its_own_is_refused(
    tmp_path: Path,
) -> None:
    way = {"values": "unit", "fake": 1}
    told = ForeignConfig(**way)
    onnx.save(
        make_onnx("NCHW", 1, way),
        tmp_path / "a.onnx",
        save_as_external_data=True,
        location="b.bin",
        size_threshold=0,
    )
    outside = onnx.load(tmp_path / "a.onnx", load_external_data=False)
    for tensor in outside.graph.initializer:  # a place that OpenVINO opens
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = str(tmp_path / "b.bin")
    with pytest.raises(
        UsageError, match=r"its weights are in other files, which are not read; .*external_data=False"
    ):
        foreign.convert_onnx(outside.SerializeToString(), "a.onnx", told, 224)
    model = make_onnx("NCHW", 1, way)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Mine", "my.own"
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    with pytest.raises(UsageError, match=r"not a network of ONNX's own operations \(.*Mine"):
        foreign.convert_onnx(model.SerializeToString(), "a.onnx", told, 224)


@pytest.mark.parametrize("data", [b"", b"no protobuf at all", b"\x08\x09"], ids=["empty", "text", "header"])
def test_what_is_no_onnx_file_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(UsageError, match=r"^x\.onnx: "):
        foreign.convert_onnx(data, "x.onnx", ForeignConfig(values="unit", fake=1), 224)


def end_with(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """The detector with more operations behind its answer: they take ``a`` and give ``answer``."""
    model = make_onnx("NCHW", 1, {"values": "unit", "fake": 1})
    model.graph.node[-1].output[0] = "a"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


HOSTILE = {
    "cycle": (
        end_with(
            helper.make_node("Add", ["z", "a"], ["y"]),
            helper.make_node("Add", ["y", "a"], ["z"]),
            helper.make_node("Identity", ["z"], ["answer"]),
        ),
        r"x.onnx: .*\(std::bad_alloc\)",  # OpenVINO asks for more and more
    ),
    "terabytes": (
        end_with(
            helper.make_node("Expand", ["a", "shape"], ["b"]),
            helper.make_node("ReduceMean", ["b"], ["answer"], axes=[0, 1], keepdims=1),
            shape=np.array([2**20, 2**20]),
        ),
        "x.onnx: OpenVINO ",
    ),
    "no number": (
        end_with(
            helper.make_node("Div", ["zero", "zero"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["answer"]),
            zero=np.zeros((1, 1), np.float32),
        ),
        "x.onnx: the network gives nan for a crop",
    ),
    "thousands": (
        end_with(helper.make_node("Mul", ["a", "k"], ["answer"]), k=np.full((1, 1), 1e4, np.float32)),
        r"x.onnx: the network gives \d+ for a crop",
    ),
}


@pytest.mark.slow(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_an_onnx_file_that_takes_too_much_or_gives_no_score_is_refused_by_a_process_of_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "CONVERSION_MB", 1024)
    model, words = HOSTILE[name]
    with pytest.raises(UsageError, match=words):
        foreign.convert_apart(model.SerializeToString(), "x.onnx", ForeignConfig(values="unit", fake=1), 224)


def test_an_onnx_file_of_another_input_or_answer_is_refused() -> None:
    way = {"values": "unit", "fake": 1}
    told = ForeignConfig(**way)
    three = make_onnx("NCHW", 3, {**way, "output": "logit"}).SerializeToString()
    with pytest.raises(UsageError, match=r"gives \[1, 3\], expected one or two numbers"):
        foreign.convert_onnx(three, "x.onnx", told, 224)
    free = make_onnx("NCHW", 1, way, side="side").SerializeToString()
    with pytest.raises(UsageError, match="takes pictures of any size"):
        foreign.convert_onnx(free, "x.onnx", told, 224)
    sized = foreign.convert_onnx(free, "x.onnx", ForeignConfig(**way, size=112), 224)
    fixed = foreign.convert_onnx(make_onnx("NCHW", 1, way).SerializeToString(), "x.onnx", told, 224)
    np.testing.assert_allclose(
        OpenVinoScorer(sized, 224).score(CROPS), OpenVinoScorer(fixed, 224).score(CROPS), atol=1e-6
    )


def test_the_three_colours_each_take_a_number() -> None:
    with pytest.raises(ValueError, match=r"foreign\.mean takes three numbers"):
        ForeignConfig(mean=[0.5])
    with pytest.raises(ValueError, match=r"foreign\.std must not be 0"):
        ForeignConfig(std=[1.0, 0.0, 1.0])
