"""The command lines and Python that pages show, run in a folder that has what the pages speak of."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
import skimage

from deepfake.__main__ import run_job
from deepfake.catalog.load import load_catalog
from deepfake.config import CatalogConfig
from deepfake.io.storage import Storage
from deepfake.model import thresholds
from tests.docs.test_docs import command_lines
from tests.model.test_foreign import make_onnx
from tests.running import ROOT
from tests.small_bundle import save_untrained

pytestmark = pytest.mark.slow(60)

# What stands for paths that a test cannot write to or reach.
PLACES = {"s3://": "s3/", "/DATA/": "DATA/", "/SHARED/": "out/"}
SHOWN = dict.fromkeys(shlex.join(shlex.split(line, comments=True)) for _, line in command_lines())
# tests/cluster submits such jobs, and tests/pipelines/benchmark measures
LINES = [line for line in SHOWN if "cluster.yaml" not in line and not line.startswith("benchmark")]


def list_planned() -> set[str]:
    """The lines that only say what they would do: all that train or watch, all but the first of slow jobs."""
    by_job: dict[str, list[str]] = {}
    for line in LINES:
        by_job.setdefault(Path(line.split()[0]).stem, []).append(line)
    slow = [line for job in ("leakcheck", "evaluate", "export") for line in by_job[job][1:]]
    return {*by_job["train"], *by_job["watch"], *slow}


def save_face(path: Path, number: int) -> None:
    """The portrait in scikit-image, a little brighter for each number: a face, and no two alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    portrait = cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"))
    assert portrait is not None
    small = cv2.resize(portrait[:300, 100:400], (240, 240)).astype(np.int16)
    cv2.imwrite(str(path), np.clip(small + 3 * number, 0, 255).astype(np.uint8))


def save_bundle(uri: str) -> None:
    """With thresholds and a calibration, of scores that were drawn."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    drawn = np.clip(random.normal(0.4 + 0.2 * labels, 0.1), 0, 1)
    names = [f"{i}.mp4" for i in range(80)]
    faces = pa.table({"video_id": names, "frame_index": [0] * 80, "label": labels, "score": drawn})
    chosen = thresholds.choose_decisions(faces)
    decisions: dict[str, Any] = {
        "operating_points": {name: found.operating_points for name, found in chosen.items()},
        "uncertain": {name: found.uncertain for name, found in chosen.items()},
        "calibration": {name: found.calibration for name, found in chosen.items()},
    }
    people = {"train": ["youtube/000", "youtube/003"], "val": ["youtube/001", "youtube/004"]}
    save_untrained(uri, training={"identities": people}, **decisions)


def run(line: str, *more: str) -> int:
    job, *arguments = shlex.split(line)
    for written, here in PLACES.items():
        arguments = [word.replace(written, here) for word in arguments]
    return run_job(Path(job).stem, job, [*arguments, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``DATA``, crops, two bundles, scores with their crops, and whatever else the lines name."""
    root = tmp_path_factory.mktemp("shown")
    pairs = {"train": [["000", "003"]], "val": [["001", "004"]], "test": [["002", "005"]]}
    clips = [clip for ((one, other),) in pairs.values() for clip in (one, other)]
    fakes = [f"{one}_{other}" for ((one, other),) in pairs.values()]
    names = [f"ffpp/original/{clip}_1" for clip in clips] + [f"ffpp/Deepfakes/{fake}_1" for fake in fakes]
    names += [f"clips/{kind}/{name}" for kind in ("real", "fake") for name in "abc"]
    names += ["archive/one", "archive/two"]
    for number, name in enumerate(names):
        save_face(root / "DATA" / f"{name}.png", number)
    (root / "DATA/splits").mkdir()
    for split, listed in pairs.items():
        (root / f"DATA/splits/{split}.json").write_text(json.dumps(listed))
    rows = [f"{root}/DATA/clips/{kind}/{name}.png,{kind}" for kind in ("real", "fake") for name in "abc"]
    (root / "videos.csv").write_text("\n".join(["path,label", *rows]))
    (case,) = re.findall(r"```yaml\n(reference:.*?)```", (ROOT / "docs" / "scoring.md").read_text(), re.S)
    (root / "CASE.yaml").write_text(case)
    (root / "review.csv").write_text("video_id,label,note\none.png,real,\ntwo.png,fake,\n")
    for name in ("s3/data/Celeb-DF-v2", "s3/data/dfdc"):
        shutil.copytree(root / "DATA/clips", root / name)
    (root / "out").mkdir()
    for link, target in {
        "OUT": "out", "ARCHIVE": "DATA/archive", "DATA/videos": "archive", "out/videos": "../DATA/archive",
        "out/dfdc": "celeb",
    }.items():  # fmt: skip
        (root / link).symlink_to(target)
    save_bundle(str(root / "out/model"))
    save_untrained(str(root / "out/adopted"), seed=5)
    (root / "detector.onnx").write_bytes(make_onnx("NCHW", 1, {}).SerializeToString())
    for name in ("model2", "model_before", "calibrated"):
        shutil.copytree(root / "out/model", root / "out" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert run(next(line for line in LINES if line.startswith("preprocess.py"))) == 0
        assert run("preprocess.py --input DATA/clips --output out/celeb") == 0
        keeping = "score.py --bundle out/model --input ARCHIVE --output out/scores --scoring.keep_crops true"
        assert run(keeping) == 0
    return root


@pytest.mark.parametrize("line", LINES)
def test_a_shown_command_line_does_what_it_says(
    line: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a folder of its own for ``--output``: pages use one name for what two settings make."""
    monkeypatch.chdir(folder)
    words = shlex.split(line)
    if "--output" in words:
        if Path(words[0]).stem == "remove":
            shutil.copytree(words[words.index("--output") + 1], tmp_path / "output")
        words[words.index("--output") + 1] = str(tmp_path / "output")
    assert run(shlex.join(words), *["--dry-run"] * (line in list_planned())) == 0


def run_python(page: str, **names: Any) -> dict[str, Any]:
    """Run a page's Python, but for calls of ``run``, which are jobs; the names that it leaves."""
    text = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S))
    statements = [one for one in ast.parse(text).body if not ast.unparse(one).startswith("run(")]
    exec(compile(ast.Module(statements, []), page, "exec"), names)
    return names


def test_the_python_of_pages_does_what_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    scores = np.array([0.2, 0.8])
    found = run_python("evaluation.md", scores=scores)
    assert (found["calibration"](scores, prevalence=0.01) < found["calibration"](scores)).all()
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    assert run_python("explain.md", crops=crops)["shown"].shape == (224, 224, 3)
    (callback,) = run_python("training.md")["callbacks"]()
    assert callable(callback.on_epoch_end)


def test_the_manifest_that_the_quickstart_shows_is_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```csv\n(.*?)```", (ROOT / "docs/quickstart.md").read_text(), re.S)
    (tmp_path / "videos.csv").write_text(shown)
    catalog = load_catalog(str(tmp_path / "videos.csv"), CatalogConfig(), Storage())
    assert catalog["label"].to_pylist() == [0, 0, 1, 0, 1]
    assert dict(zip(*(catalog[name].to_pylist() for name in ("group_id", "split")), strict=True)) == {
        "anna": "train",
        "carl": "test",
    }
