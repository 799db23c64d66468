"""A bundle's network on the fastest runtime that this machine has for it.

On CPUs that is OpenVINO, which needs neither TensorFlow nor Keras to score: the network is exported once,
compared with TensorFlow, and kept in the bundle, which names its hash, or in the user's cache. On GPUs it is
TensorFlow itself.
``tests/benchmarks/runtimes.py`` measures them and their rivals.
"""

import contextlib
import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Literal, Protocol

import cv2
import numpy as np

from deepfake.errors import JobError, UsageError
from deepfake.io.cache import find_cache_folder, is_private, make_private
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model import keras_runtime, openvino_graph
from deepfake.model.bundle import Bundle
from deepfake.model.grad_cam import HeatMaps, build_function_with_maps
from deepfake.model.network import INPUT_SIZE
from deepfake.model.openvino_graph import OpenVinoScorer
from deepfake.model.thresholds import Mixer
from deepfake.outcome import get_clock

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # an exported network whose scores differ by more than this is not used
FOLDER = "runtimes"
PROBES = 24  # crops on which an export is compared with TensorFlow

Runtime = Literal["tensorflow", "openvino"]


class Scorer(Protocol):
    """What scores crops; ``deepfake.model.bundle.Bundle`` is one."""

    def score(self, crops: np.ndarray) -> np.ndarray:
        """Scores ``(n,) float64`` in [0, 1] of crops ``(n, size, size, 3) uint8 RGB``."""
        ...


@dataclass(frozen=True)
class MirroringScorer:
    """Scores a crop by the mean of its own and the mirrored crop's score."""

    scorer: Scorer

    def score(self, crops: np.ndarray) -> np.ndarray:
        """As ``Scorer.score``."""
        return (self.scorer.score(crops) + self.scorer.score(crops[:, :, ::-1])) / 2


@dataclass(frozen=True)
class EnsembleScorer:
    """Scores a crop by several bundles."""

    scorers: tuple[Scorer, ...]
    mixer: Mixer

    def score(self, crops: np.ndarray) -> np.ndarray:
        """As ``Scorer.score``."""
        return self.mixer(self.score_by_each(crops))

    def score_by_each(self, crops: np.ndarray) -> np.ndarray:
        """``(n, bundles) float64``: what each bundle says by itself."""
        return np.stack([scorer.score(crops) for scorer in self.scorers], axis=1)


def score_by_each(scorer: Scorer, crops: np.ndarray) -> np.ndarray:
    """What a bundle's ``mixer`` makes scores of: ``(n, bundles)`` of an ensemble, else ``(n,)``."""
    with get_clock().on("score"):
        return scorer.score_by_each(crops) if isinstance(scorer, EnsembleScorer) else scorer.score(crops)


@dataclass(frozen=True)
class Network:
    """A network ready to be sent to the workers: some 17 MB, and nothing running yet."""

    runtime: Runtime
    bundle: Bundle
    graph: bytes = b""  # see ``export_openvino``; b"": the bundle's own file
    flip: bool = False  # whether crops are scored mirrored as well

    def start_scorer(self, threads: int | None = None) -> Scorer:
        """Start the runtime in this process, on so many CPU threads (default: all)."""
        if self.runtime == "openvino":
            graph = self.graph or self.bundle.network_file
            scorer: Scorer = OpenVinoScorer(graph, self.bundle.crop_size, threads)
        else:
            keras_runtime.start_keras(threads=threads)
            scorer = self.bundle
        return MirroringScorer(scorer) if self.flip else scorer

    def start_heat_maps(self, threads: int | None = None) -> Callable[..., np.ndarray]:
        """What draws heat maps, as ``grad_cam.HeatMaps`` does, by this runtime where it can."""
        if self.runtime == "openvino":
            scorer = OpenVinoScorer(self.graph, self.bundle.crop_size, threads)
            if scorer.has_maps:
                return scorer.draw_maps
        keras_runtime.start_keras(threads=threads)
        return HeatMaps(self.bundle)

    @property
    def made_with(self) -> str:
        """Versions of what decodes, detects and scores with it, without importing any of that."""
        found = keras_runtime.list_versions()
        scores = ("openvino",) if self.runtime == "openvino" else ("keras", "tensorflow", "tensorflow-cpu")
        names = ("deepfake", *scores, "av", "opencv-python-headless", "numpy")
        return ", ".join(f"{name} {found[name]}" for name in names if name in found)


@dataclass(frozen=True)
class EnsembleNetwork:
    """The networks of an ``Ensemble``, each as ``Network``."""

    bundle: Bundle
    networks: tuple[Network, ...]

    def start_scorer(self, threads: int | None = None) -> Scorer:
        """As ``Network.start_scorer``; one after the other they score on the same threads."""
        return EnsembleScorer(tuple(one.start_scorer(threads) for one in self.networks), self.bundle.mixer)

    def start_heat_maps(self, threads: int | None = None) -> Callable[..., np.ndarray]:
        """The mean of the heat maps of those networks that have any."""
        draw = [one.start_heat_maps(threads) for one in self.networks if one.bundle.has_heat_maps]
        return lambda *crops_and_call: np.mean([maps(*crops_and_call) for maps in draw], axis=0)

    @property
    def made_with(self) -> str:
        """As ``Network.made_with``."""
        return ", ".join(dict.fromkeys(", ".join(one.made_with for one in self.networks).split(", ")))


AnyNetwork = Network | EnsembleNetwork


def prepare_network(
    bundle: Bundle, storage: Storage, wanted: str = "auto", use_gpu: bool = False, flip: bool = False
) -> AnyNetwork:
    """The bundle's network for the runtime that is ``wanted``, exported and verified if it has not been.

    ``auto``: TensorFlow on GPUs; on CPUs OpenVINO where it is installed and gives the same scores, else
    TensorFlow, with a warning. Raises ``UsageError`` where OpenVINO is asked for by name and cannot be had.
    """
    if bundle.members:
        networks = (_prepare_one(one, storage, wanted, use_gpu) for one in bundle.members)
        return EnsembleNetwork(bundle, tuple(replace(one, flip=flip) for one in networks))
    return replace(_prepare_one(bundle, storage, wanted, use_gpu), flip=flip)


def _prepare_one(bundle: Bundle, storage: Storage, wanted: str, use_gpu: bool) -> Network:
    if bundle.is_graph:
        if use_gpu or wanted == "tensorflow":
            raise UsageError(
                f"{bundle.uri}: was adopted from an ONNX file and scores on CPUs, by OpenVINO; leave out "
                "scoring.runtime and scoring.use_gpu"
            )
        if importlib.util.find_spec("openvino") is None:
            raise UsageError(f"{bundle.uri}: takes OpenVINO, which is not installed; pip install openvino")
        return Network("openvino", bundle)
    if use_gpu or wanted == "tensorflow":
        if wanted == "openvino":
            raise UsageError("scoring.runtime openvino scores on CPUs; leave out scoring.use_gpu")
        return Network("tensorflow", bundle)
    if importlib.util.find_spec("openvino") is None:
        if wanted == "openvino":
            raise UsageError("scoring.runtime openvino: it is not installed; pip install openvino")
        log.warning("OpenVINO is not installed: scoring with TensorFlow, at about half the rate")
        return Network("tensorflow", bundle)
    graph = _read_cached(bundle, storage)
    if graph is None:
        graph = export_openvino(bundle)
        difference = _measure_difference(bundle, graph)
        if difference > TOLERANCE:
            words = f"OpenVINO's scores differ from TensorFlow's by up to {difference:.2g}"
            if wanted == "openvino":
                raise UsageError(f"scoring.runtime openvino: {words}; use scoring.runtime tensorflow")
            log.warning("%s: scoring with TensorFlow", words)
            return Network("tensorflow", bundle)
        _store(bundle, storage, graph, difference)
    return Network("openvino", bundle, graph)


def export_openvino(bundle: Bundle) -> bytes:
    """The network as OpenVINO stores it, both of its files in one zip archive; weights in float32.

    Its outputs are the scores and, for a head that is known, the raw heat maps.
    """
    keras_runtime.start_keras()
    function = build_function_with_maps(bundle.network) or bundle.make_concrete_function(None)
    return openvino_graph.pack(openvino_graph.convert(function))


def _measure_difference(bundle: Bundle, graph: bytes) -> float:
    """Largest difference between OpenVINO's and TensorFlow's scores over the probes."""
    probes = make_probes(bundle.crop_size)
    exported = OpenVinoScorer(graph, bundle.crop_size)
    return float(np.max(np.abs(exported.score(probes) - bundle.score(probes))))


def make_probes(size: int = INPUT_SIZE) -> np.ndarray:
    """Pictures ``(PROBES, size, size, 3) uint8`` from flat to noisy, the same every time."""
    random = np.random.default_rng(0)
    made = []
    for i in range(PROBES):
        cells = (2, 4, 8, 16, 56, size)[i % 6]
        low = int(random.integers(0, 128))
        coarse = random.integers(low, low + 128, (cells, cells, 3)).astype(np.uint8)
        made.append(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))
    return np.stack(made)


def export_beside(bundle: Bundle, storage: Storage) -> dict[str, str]:
    """Export a network into its bundle's folder; sha256 by name, for ``bundle.json``.

    Nothing where OpenVINO is not installed or scores otherwise.
    """
    if importlib.util.find_spec("openvino") is None:
        return {}
    with keras_runtime.exact_float32():
        graph = export_openvino(bundle)
        difference = _measure_difference(bundle, graph)
    if difference > TOLERANCE:
        log.warning("OpenVINO's scores differ from TensorFlow's by up to %.2g: not exported", difference)
        return {}
    name = name_export(bundle.info.model_sha256)
    storage.write_bytes(join(bundle.uri, FOLDER, f"{name}.zip"), graph)
    return {name: hashlib.sha256(graph).hexdigest()}


def name_export(model_sha256: str) -> str:
    """What a network's export for the OpenVINO at hand is called, in a bundle and in the cache."""
    return f"openvino-{version('openvino')}-maps-{model_sha256}"


def _read_cached(bundle: Bundle, storage: Storage) -> bytes | None:
    """The graph as it was exported and verified before, if it is whole.

    Only what ``bundle.json`` names by its hash, and what this user's own cache has: whoever else put a
    network beside the bundle may have put another there, and that they agree on the probes proves nothing.
    """
    name, most = name_export(bundle.info.model_sha256), storage.config.max_network_mb
    if (wanted := bundle.info.runtimes.get(name)) is not None:
        place = join(bundle.uri, FOLDER, f"{name}.zip")
        with contextlib.suppress(OSError, UsageError):
            graph = storage.read_at_most(place, most * 2**20)
            if hashlib.sha256(graph).hexdigest() == wanted:
                return graph
            log.warning("%s: damaged, or not what bundle.json names; it is exported again", place)
    kept = find_cache_folder() / FOLDER / f"{name}.zip"
    try:
        if not all(map(is_private, (kept, kept.with_suffix(".json"), kept.parent))):
            log.warning("%s: somebody else may have written it; it is exported again", kept)
            return None
        made = json.loads(storage.read_at_most(str(kept.with_suffix(".json")), 2**16))
        graph = storage.read_at_most(str(kept), most * 2**20)
        if hashlib.sha256(graph).hexdigest() == made["sha256"]:
            return graph
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.debug("%s: %s", kept, error)
    log.warning("%s: damaged; it is exported again", kept)
    return None


def _store(bundle: Bundle, storage: Storage, graph: bytes, difference: float) -> None:
    """Keep a graph in the user's cache."""
    made = {"sha256": hashlib.sha256(graph).hexdigest(), "largest_difference_from_tensorflow": difference}
    kept = find_cache_folder() / FOLDER / f"{name_export(bundle.info.model_sha256)}.zip"
    try:
        storage.write_bytes(str(kept), graph)
        storage.write_json(str(kept.with_suffix(".json")), made)
        for path in (kept, kept.with_suffix(".json"), kept.parent):
            make_private(path)
    except (OSError, UsageError, JobError) as error:
        log.warning("the network for OpenVINO is not kept, and exported again by the next job (%s)", error)
        return
    log.info("%s: the network for OpenVINO; scores within %.1g of TensorFlow's", kept, difference)
