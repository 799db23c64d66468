"""A network as a graph of OpenVINO: packed into one file, compiled, and run on crops.

It needs neither TensorFlow nor Keras to score.
"""

import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.errors import UsageError
from deepfake.imports import hide_modules
from deepfake.io.temporary import make_temporary_folder
from deepfake.model.heat import Call, enlarge
from deepfake.model.network import check_crops, check_scores
from deepfake.model.network_file import check_sizes, read_member

LARGEST_GRAPH_MB = 4096  # unpacked; of those that are read ``storage.max_network_mb`` bounds the file
_GRAPH, _WEIGHTS = "network.xml", "network.bin"
_NAME = "the network for OpenVINO"


class OpenVinoScorer:
    """An exported network in OpenVINO, one crop at a time.

    On one thread a batch of one is as fast as any (126 crops a second against 103 at 32, measured on a
    virtual machine of two cores), wastes nothing on padding, and makes a crop's score independent of what
    else is scored.
    """

    def __init__(self, graph: bytes, size: int, threads: int | None = None) -> None:
        """``size``: side in pixels of the crops that the network takes."""
        self._size, self._request = size, compile_graph(graph, size, threads)
        ranks = [len(output.partial_shape) for output in self._request.model_outputs]
        self._score = ranks.index(2)
        self.has_maps = 3 in ranks
        self._map = ranks.index(3) if self.has_maps else -1

    def score(self, crops: np.ndarray) -> np.ndarray:
        """Scores ``(n,) float64`` in [0, 1] of crops ``(n, size, size, 3) uint8 RGB``."""
        check_crops(crops, self._size)
        crops = np.ascontiguousarray(crops)
        scores = np.empty(len(crops), np.float64)
        for i in range(len(crops)):
            scores[i] = self._infer(crops[i : i + 1])[self._score][0, 0]
        return check_scores(scores)

    def draw_maps(self, crops: np.ndarray, speaks_for: Call = "fake") -> np.ndarray:
        """Heat ``(n, size, size) float32`` in [0, 1] of crops, as ``grad_cam.HeatMaps`` gives it."""
        check_crops(crops, self._size)
        sign = 1.0 if speaks_for == "fake" else -1.0
        crops = np.ascontiguousarray(crops)
        heat = np.empty(crops.shape[:3], np.float32)
        for i in range(len(crops)):
            coarse = np.maximum(0.0, sign * self._infer(crops[i : i + 1])[self._map][0])
            heat[i] = enlarge(coarse, self._size)
        return heat

    def _infer(self, crop: np.ndarray) -> Any:
        return self._request.infer([crop], share_inputs=True)


def compile_graph(graph: bytes, size: int, threads: int | None = None, batch: int = 1) -> Any:
    """An OpenVINO request that scores ``batch`` crops at a time on so many threads (default: all).

    Raises ``UsageError`` where it is no packed graph, or none of such crops.
    """
    core = _start_core()
    try:
        with zipfile.ZipFile(io.BytesIO(graph)) as archive:
            check_sizes(archive, _NAME, LARGEST_GRAPH_MB)
            graph, weights = (read_member(archive, name) for name in (_GRAPH, _WEIGHTS))
        network = core.read_model(model=graph, weights=weights)
        network.reshape([batch, size, size, 3])
    except (RuntimeError, KeyError, zipfile.BadZipFile) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
        raise UsageError(
            f"{_NAME} cannot be read ({words}); it is damaged: adopt or train it again"
        ) from None
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",  # it may choose bfloat16, which moves scores by up to 0.3
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # several workers would be pinned to the same core
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return core.compile_model(network, "CPU", settings).create_infer_request()


@cache
def _start_core() -> Any:
    """OpenVINO's core, one for as long as the process lives.

    Each that has compiled something gave its thread a stack for signals. Where two of them end, the older one
    first, the thread is left with the older one's stack (2026.4), which is no longer there: a signal, such as
    Ctrl-C, then ends the process with a segmentation fault.
    """
    return import_openvino().Core()


def convert(function: Any) -> Any:
    """A concrete function of TensorFlow as an ``openvino.Model``.

    By way of a frozen graph in a file: Keras' own export hands OpenVINO Python objects, which its converter
    (2026.4) cannot take under Python 3.13.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    with make_temporary_folder() as folder:
        whole = folder / "network.pb"
        whole.write_bytes(frozen.graph.as_graph_def().SerializeToString())
        return _start_core().read_model(whole)


def save(network: Any, path: Path) -> None:
    """Write an ``openvino.Model`` as ``path``, ``*.xml``, and its weights beside it, in float32."""
    import_openvino().save_model(network, path, compress_to_fp16=False)


def pack(network: Any) -> bytes:
    """An ``openvino.Model`` as OpenVINO stores it, both of its files in one zip archive."""
    packed = io.BytesIO()
    with make_temporary_folder() as folder, zipfile.ZipFile(packed, "w") as archive:
        save(network, folder / _GRAPH)
        for name in (_GRAPH, _WEIGHTS):  # of no date
            archive.writestr(zipfile.ZipInfo(name), (folder / name).read_bytes())
    return packed.getvalue()


def import_openvino() -> Any:
    """The module, imported so that it reports its use to nobody."""
    with hide_modules("openvino_telemetry"):
        import openvino
    return openvino
