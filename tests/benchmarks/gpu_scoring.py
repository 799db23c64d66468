"""A GPU that scores: rates and differences of precisions and batches, and the job; asserts nothing.

python -m tests.benchmarks.gpu_scoring --bundle BUNDLE --input CLIPS --yunet FILE [--copies 20]
    [--multiply 8] [--expected SCORED] [--batch 32 256] [--precision float32 tf32 mixed_float16]
python -m tests.benchmarks.gpu_scoring --bundle BUNDLE --input SCORED --expected SCORED ...

The network is the bundle's, by Keras on JAX, so that this runs where there is a GPU and no TensorFlow; all
else of the job is as it is for TensorFlow. Measured in turn:

- network: crops a second of crops in memory, and how far their scores are from whole float32's
- job: ``jobs/score.py``'s work on copies of the clips, CPU tasks cutting crops and a GPU actor scoring them
- kept: the same on copies of the crops that the first job kept, so that no video is decoded; what the second
  half of them takes, so that nobody's start is counted
- job and kept again with a network that answers .5 at once: what all the rest of the machine can do

``--expected`` is the output of ``jobs/score.py`` on the clips, scored anywhere: the largest difference of
face scores from it is said. Where ``--input`` is such an output that kept its crops, no video is needed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.config import DetectorConfig, RayConfig, ScoreJobConfig
from deepfake.execution import nodes, session
from deepfake.execution.output import CROP_ROW_GROUP_ROWS
from deepfake.execution.process import count_cpus
from deepfake.faces.encoding import decode_image
from deepfake.io.parts import PARTS_KEY
from deepfake.model import inference
from deepfake.model.bundle import MODEL_FILE
from deepfake.model.network import INPUT_SIZE, SCORE_LAYER, check_crops, rebuild_network, score_in_batches
from deepfake.pipelines.score import pipeline
from tests.benchmarks.gpu_training import keras_on_jax, say
from tests.benchmarks.scoring_rates import EVERY_N, lay_out

TIMES = 2
CROPS = SimpleNamespace(crop_size=INPUT_SIZE)  # of a bundle what the job asks a network for


@dataclass(frozen=True)
class JaxNetwork:
    """Like ``runtimes.Network``: what a GPU actor makes its scorer of."""

    file: bytes
    precision: str  # float32, tf32, or the name of a Keras dtype policy
    batch: int

    made_with = "keras on jax"
    bundle = CROPS

    def start_scorer(self, threads: int | None = None) -> JaxScorer:
        """Start Keras on JAX in this process and compile."""
        return JaxScorer(self)


@dataclass(frozen=True)
class NoNetwork:
    """The same without a network."""

    made_with = "nothing"
    bundle = CROPS

    def start_scorer(self, threads: int | None = None) -> NoNetwork:
        """Itself."""
        return self

    def score(self, crops: np.ndarray) -> np.ndarray:
        """See ``runtimes.Scorer``."""
        return np.full(len(check_crops(crops, INPUT_SIZE)), 0.5)


class JaxScorer:
    """A network in batches of one shape; the last is padded, as ``Bundle.score`` does."""

    def __init__(self, network: JaxNetwork) -> None:
        keras, jax = keras_on_jax(), importlib.import_module("jax")
        jax.config.update(
            "jax_default_matmul_precision", "highest" if network.precision == "float32" else "default"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, MODEL_FILE)
            path.write_bytes(network.file)
            loaded = keras.models.load_model(path, compile=False, safe_mode=True)
        if network.precision.startswith("mixed"):
            loaded = half_precision(keras, loaded, network.precision)
        learnt = [
            [v.value for v in found] for found in (loaded.trainable_variables, loaded.non_trainable_variables)
        ]
        compiled = jax.jit(lambda learnt, crops: loaded.stateless_call(*learnt, crops, training=False)[0])
        self._batch = network.batch
        self._forward: Callable[[np.ndarray], Any] = lambda crops: compiled(learnt, crops)

    def score(self, crops: np.ndarray) -> np.ndarray:
        """See ``runtimes.Scorer``."""
        return score_in_batches(crops, INPUT_SIZE, self._batch, self._forward)


def half_precision(keras: Any, network: Any, policy: str) -> Any:
    """The network with another dtype policy, but for its last layer."""

    def kind(layer: Any) -> Any:
        if layer.name != SCORE_LAYER:
            return type(layer)
        return SimpleNamespace(
            from_config=lambda config: type(layer).from_config(config | {"dtype": "float32"})
        )

    keras.config.set_dtype_policy(policy)
    try:
        return rebuild_network(network, kind, {"dtype": policy})
    finally:
        keras.config.set_dtype_policy("float32")


def network_alone(
    network_file: bytes, crops: np.ndarray, precisions: list[str], batches: list[int]
) -> dict[str, Any]:
    """Crops a second and largest differences, by precision and batch."""
    found: dict[str, Any] = {}
    whole: np.ndarray | None = None
    for precision in precisions:
        for batch in batches:
            started = time.monotonic()
            scorer = JaxNetwork(network_file, precision, batch).start_scorer()
            scores = scorer.score(crops)
            compiling = time.monotonic() - started
            whole = scores if whole is None else whole
            seconds = []
            for _ in range(TIMES):
                started = time.monotonic()
                scorer.score(crops)
                seconds.append(time.monotonic() - started)
            rate = len(crops) / statistics.median(seconds)
            apart = float(np.max(np.abs(scores - whole)))
            say(
                f"network, {precision}, batch {batch}: {rate:.0f} crops a second, scores from "
                f"{scores.min():.3f} to {scores.max():.3f}, at most {apart:.1e} from {precisions[0]}'s; "
                f"started in {compiling:.0f} s"
            )
            found[f"{precision}, {batch}"] = {"rate": rate, "difference": apart}
    return found


@dataclass(frozen=True)
class Job:
    """What all jobs of this benchmark have in common."""

    bundle: str
    detector: DetectorConfig | None

    def __call__(self, folder: str, output: str, network: Any, limit: int | None = None) -> tuple[int, float]:
        """Faces, and seconds from the plan to the joined tables; crops of videos are kept."""
        inference.prepare_network = lambda *_: network
        config = ScoreJobConfig.model_validate(
            {
                "input": folder,
                "output": output,
                "bundle": self.bundle,
                "detector": self.detector,
                "catalog": {"dedupe": False},
                "sampling": {"every_n": EVERY_N},
                "crop": {},
                "scoring": {"use_gpu": True, "keep_crops": not Path(folder, "crops").is_dir()},
                "report": {"heat_maps": False, "pages": 0, "max_thumbnails": 0},
                "limit": limit,
            }
        )
        numbers = pipeline.run(config).summary
        return numbers["faces"], numbers["working_seconds"] + numbers["starting_seconds"]


def multiplied(kept: Path, target: Path, times: int) -> Path:
    """An output with the crops of another so many times, each time as other videos'."""
    (target / "crops").mkdir(parents=True)
    shutil.copy(kept / "_config.json", target)
    crops, videos = pq.read_table(kept / "crops"), pq.read_table(kept / "_manifest.parquet")
    names, manifest = [], []
    for number in range(times):
        names.append(f"part-{number:05d}.parquet")
        renamed = _renamed(crops, f"{number:03d}/")
        pq.write_table(renamed, target / "crops" / names[-1], row_group_size=CROP_ROW_GROUP_ROWS)
        manifest.append(_renamed(videos, f"{number:03d}/"))
    parts = {PARTS_KEY: json.dumps({"crops": names}).encode()}
    whole = pa.concat_tables(manifest)
    whole = whole.replace_schema_metadata({**videos.schema.metadata, **parts})
    pq.write_table(whole, target / "_manifest.parquet")
    return target


def _renamed(table: pa.Table, prefix: str) -> pa.Table:
    names = pa.array([prefix + name for name in table["video_id"].to_pylist()], pa.string())
    return table.set_column(table.column_names.index("video_id"), table.schema.field("video_id"), names)


def face_scores(output: str) -> dict[tuple[Any, ...], float]:
    """Scores by content, frame and track."""
    root = Path(output)
    videos = pq.read_table(root / "video_scores").to_pylist()
    content = {row["video_id"]: row["content_sha256"] for row in videos}
    return {
        (content[row["video_id"]], row["frame_index"], row["track_id"]): row["score"]
        for row in pq.read_table(root / "face_scores").to_pylist()
    }


def kept_pictures(output: str, count: int) -> np.ndarray:
    """(count, 224, 224, 3) uint8 RGB of the crops that a job kept, again and again."""
    encoded = pq.read_table(Path(output, "crops"), columns=["crop"])["crop"].to_pylist()
    pictures = np.stack([decode_image(data) for data in encoded[:count]])
    return np.resize(pictures, (count, INPUT_SIZE, INPUT_SIZE, 3))


def main() -> None:
    """Measure, print, and leave the numbers as JSON on the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--yunet", help="where --input are clips")
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--multiply", type=int, default=8, help="the kept crops so often")
    parser.add_argument("--expected")
    parser.add_argument("--crops", type=int, default=4096, help="that the network scores alone")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    precisions = ["float32", "tf32", "mixed_float16", "mixed_bfloat16"]
    parser.add_argument("--precision", nargs="+", default=precisions)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault(
        "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
    )  # this process and the actor share the GPU
    detector = None
    if chosen.yunet:
        detector = DetectorConfig(name="yunet", yunet_model=str(Path(chosen.yunet).resolve()))
    network_file = Path(chosen.bundle, MODEL_FILE).read_bytes()
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made, session.open_session(RayConfig(object_store_mb=8192)):
        whole = JaxNetwork(network_file, "float32", chosen.batch[-1])
        networks = {"": whole, ", no network": NoNetwork()}
        job = Job(chosen.bundle, detector)
        kept = Path(chosen.input)
        if not (kept / "crops").is_dir():
            archive, kept = Path(made, "archive"), Path(made, "kept")
            clips = lay_out(chosen.input, archive, chosen.copies)
            say(f"{len(clips)} clips")
            job(str(archive / "0"), str(Path(made, "warm")), whole)
            for name, network in networks.items():
                faces, seconds = job(str(archive), f"{kept}{name}", network)
                answers["job" + name] = faces / seconds
                say(f"job{name}: {faces} crops in {seconds:.1f} s, {faces / seconds:.0f} a second")
        faces, seconds = job(str(kept), str(Path(made, "again")), whole)
        say(f"{count_cpus()} cores, {nodes.sum_resource('GPU'):g} GPUs")
        say(f"kept: {faces} crops in {seconds:.1f} s, with the start of everything")
        if chosen.expected:
            expected, found = face_scores(chosen.expected), face_scores(str(Path(made, "again")))
            apart = [abs(found[key] - score) for key, score in expected.items() if key in found]
            say(
                f"face scores: {len(expected)} expected, {len(found)} found, {len(apart)} in both, "
                f"at most {max(apart):.1e} apart, median {statistics.median(apart):.1e}; "
                f"from {min(expected.values()):.3f} to {max(expected.values()):.3f}"
            )
            answers["largest difference"] = max(apart)
        many = multiplied(kept, Path(made, "many"), chosen.multiply)
        half = pq.read_metadata(many / "_manifest.parquet").num_rows // 2
        for name, network in networks.items():
            rates = []
            for number in range(TIMES):
                some, sooner = job(str(many), str(Path(made, f"half{number}{name}")), network, half)
                all_faces, later = job(str(many), str(Path(made, f"all{number}{name}")), network)
                rates.append((all_faces - some) / (later - sooner))
                say(f"kept{name}: {some} crops in {sooner:.1f} s, {all_faces} in {later:.1f} s")
            answers["kept" + name] = statistics.median(rates)
            say(
                f"kept{name}: {answers['kept' + name]:.0f} crops a second, "
                + ", ".join(f"{rate:.0f}" for rate in rates)
            )
        crops = kept_pictures(str(kept), chosen.crops)
        answers["network"] = network_alone(network_file, crops, chosen.precision, chosen.batch)
    say(json.dumps(answers))


if __name__ == "__main__":
    main()
