"""What a video is called decides nothing about where a job writes."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from deepfake.config import PreprocessJobConfig
from deepfake.pipelines.preprocess import pipeline

NAMES = [
    "../../escaped.png",
    "a/../../../escaped.png",
    "/escaped/absolute.png",
    "..",
    "~/escaped.png",
    "..\\..\\escaped.png",
    "file:///escaped.png",
    "s3://escaped/x.png",
    "_manifest.parquet",
    "_work/videos/escaped.parquet",
    "part-00000.parquet",
    "$(touch escaped).png",
    "x\n../escaped.png",
    "%2e%2e/%2e%2e/escaped.png",
]


def test_no_name_of_a_video_leads_out_of_the_output_or_onto_its_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with (folder / "videos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video_id", "path"])
        for number, name in enumerate(NAMES):
            Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.png")
            rows.writerow([name, f"{number}.png"])
    output = tmp_path / "deep" / "er" / "out"
    before = set(tmp_path.rglob("*"))
    config = {"input": str(folder / "videos.csv"), "output": str(output), "detector": {"name": "haar"}}
    pipeline.run(PreprocessJobConfig.model_validate(config))
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made and all(output in path.parents for path in made)
    assert {path.name for path in made} == {
        "_config.json", "_manifest.parquet", "_yield.csv", "part-00000.parquet",
    }  # fmt: skip
    assert not Path("/escaped").exists() and not Path("escaped").exists()
    assert sorted(pq.read_table(output / "_manifest.parquet")["video_id"].to_pylist()) == sorted(NAMES)
