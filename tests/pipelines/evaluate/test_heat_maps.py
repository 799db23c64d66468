"""Heat maps in an evaluation: which errors are shown, what is said of them, and of a known blending."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deepfake.config import CropConfig, EvaluateJobConfig
from deepfake.config.parse import load_config
from deepfake.errors import UsageError
from deepfake.io.run_record import write_record
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import heat_maps, inputs, pipeline
from tests import small_bundle
from tests.pipelines.evaluate.faces import crop, two_classes, write

RED, BLUE = (255, 60, 0), (0, 60, 255)


def coloured(video: str, frame: int, label: int, colour: tuple[int, int, int]) -> dict[str, Any]:
    """A grey crop, mottled, with a patch of a colour at its left edge."""
    image = np.random.default_rng(frame).integers(110, 146, (224, 224, 1), np.uint8).repeat(3, 2)
    image[64:160, :64] = colour
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
    return crop(video, frame, label) | {"crop": encoded}


def test_the_worst_errors_are_one_of_each_video_worst_first(tmp_path: Path) -> None:
    rows = [crop(video, frame, label) for video, frame, label in (
        ("a", 0, 0), ("a", 1, 0), ("b", 0, 0), ("c", 0, 1), ("c", 1, 1), ("d", 0, 1),
    )]  # fmt: skip
    faces = inputs.load_faces(write(tmp_path, "crops", rows), Storage())
    scores = np.array([0.7, 0.9, 0.2, 0.1, 0.4, 0.45])
    assert heat_maps.find_worst_errors(faces.table, scores, 0.5, 9).tolist() == [1, 3, 5]
    assert heat_maps.find_worst_errors(faces.table, scores, 0.5, 2).tolist() == [1, 3]
    assert heat_maps.find_worst_errors(faces.table, np.array([0, 0, 0, 1, 1, 1.0]), 0.5, 9).tolist() == []
    assert heat_maps.find_worst_errors(faces.table, scores, 0.42, 9).tolist() == [
        1,
        3,
    ]  # the bundle's threshold counts


@pytest.mark.slow
def test_an_evaluation_shows_its_worst_errors_and_how_much_heat_is_on_the_blending(tmp_path: Path) -> None:
    """A network that looks for red is wrong about red reals and blue fakes, and the maps show why."""
    rows = [
        coloured(video, frame, label, colour)
        for video, label, colour in (("r1", 0, BLUE), ("r2", 0, RED), ("f1", 1, RED), ("f2", 1, BLUE))
        for frame in range(3)
    ]
    uri = write(tmp_path / "crops", "crops", rows)
    write_record(uri, Storage(), {"crop": CropConfig().model_dump()})
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    out = tmp_path / "out"
    words = ["--input", uri, "--bundle", str(tmp_path / "bundle"), "--output", str(out)]
    options = ["--evaluation.heat_maps", "5", "--evaluation.bootstrap", "0"]
    pipeline.run(load_config(EvaluateJobConfig, [*words, *options]))
    found = json.loads((out / "metrics.json").read_text())["heat_maps"]
    assert found["errors_shown"] == 2
    assert found["blended"]["crops"] == 6 and 0 < found["blended"]["area"] < 0.6
    sheet = cv2.imread(str(out / heat_maps.SHEET))
    assert sheet is not None
    # r2 and f2, each beside its map: at the left edge is the patch, and there the crop was coloured most
    cells = np.split(sheet[6:166, 6:670].astype(int), [166, 332, 498], axis=1)
    for plain, hot in (cells[:2], cells[2:]):
        changed = np.abs(plain[:, :160] - hot[:, :160]).max(axis=2)
        assert changed[46:114, :46].mean() > 4 * changed[:, 92:].mean()
    page = (out / "report.html").read_text()
    assert "Where the network looked" in page and "2 crops that were called wrong" in page

    pipeline.run(load_config(EvaluateJobConfig, [*words, "--evaluation.bootstrap", "0"]))
    assert (
        not (out / heat_maps.SHEET).exists()
        and "Where the network looked" not in (out / "report.html").read_text()
    )


@pytest.mark.slow
def test_of_several_bundles_the_maps_of_each_are_shown(tmp_path: Path) -> None:
    rows = [coloured(video, 0, label, colour) for video, label, colour in (("r1", 0, RED), ("f1", 1, RED))]
    uri = write(tmp_path / "crops", "crops", rows)
    write_record(uri, Storage(), {"crop": CropConfig().model_dump()})
    small_bundle.red_is_fake(str(tmp_path / "first"), crop=CropConfig())
    small_bundle.red_is_fake(str(tmp_path / "second"), crop=CropConfig(), threshold_rule="another")
    foreign = {"file": "theirs.onnx", "sha256": "0"}
    small_bundle.red_is_fake(str(tmp_path / "foreign"), crop=CropConfig(), adopted=foreign)
    out, bundles = tmp_path / "out", [str(tmp_path / name) for name in ("first", "second", "foreign")]
    words = ["--input", uri, "--output", str(out), "--evaluation.heat_maps", "3"]
    pipeline.run(load_config(EvaluateJobConfig, [*words, "--bundle", *bundles]))
    found = json.loads((out / "metrics.json").read_text())["heat_maps"]
    assert found["errors_shown"] == 1 and set(found["blended"]) == {"first", "second"}
    sheet = cv2.imread(str(out / heat_maps.SHEET))
    assert sheet is not None and sheet.shape[:2] == (6 + 200, 6 + 3 * 166)  # a crop, and two maps of it
    assert "of the heat of second lies on what was blended" in (out / "report.html").read_text()
    with pytest.raises(UsageError, match="made elsewhere has none; leave the key out"):
        pipeline.run(load_config(EvaluateJobConfig, [*words, "--bundle", bundles[2]]))


def test_scores_alone_have_no_heat_maps(tmp_path: Path) -> None:
    uri = write(tmp_path / "in", "face_scores", two_classes())
    words = ["--input", uri, "--output", str(tmp_path / "out"), "--evaluation.heat_maps", "3"]
    with pytest.raises(UsageError, match="heat_maps needs crops"):
        pipeline.run(load_config(EvaluateJobConfig, words))
