"""Videos compressed again, on real encoders, with faces found anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deepfake.catalog.load import load_catalog
from deepfake.config import CatalogConfig, CropConfig, DetectorConfig, EvaluationConfig, SamplingConfig
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import recompression
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from tests.pipelines.evaluate.faces import scored

STORAGE = Storage()
MADE = {
    "sampling": SamplingConfig(every_n=20).model_dump(mode="json"),
    "detector": DetectorConfig(name="haar").model_dump(mode="json"),
    "crop": CropConfig().model_dump(mode="json"),
}
CONFIG = EvaluationConfig(bootstrap=0, robustness_videos=2)


class Brightness:
    """Scores a crop by how bright it is; light where the network is not what is tested."""

    def score(self, crops: np.ndarray) -> np.ndarray:
        return crops.mean(axis=(1, 2, 3)) / 255


def faces_of(root: Path, config: dict[str, Any] = MADE) -> LabelledFaces:
    listed = load_catalog(str(root), CatalogConfig(), STORAGE).to_pylist()
    kept = {"video_id", "uri", *tables.PROVENANCE_COLUMNS}
    videos = [
        {
            **{name: value for name, value in row.items() if name in kept},
            "status": "ok", "duration_s": 2.0, "frames_sampled": 3, "frames_with_face": 3, "faces": 3,
        }
        for row in listed
    ]  # fmt: skip
    rows = [scored(row["video_id"], 0, row["label"], 0.5) for row in listed]
    return LabelledFaces(
        "crops", str(root), (), tables.from_rows("face_scores", rows), config,
        videos=tables.from_rows("videos", videos),
    )  # fmt: skip


@pytest.mark.slow
def test_a_few_videos_of_each_class_are_compressed_and_scored_anew(ffpp_small: Path) -> None:
    faces = faces_of(ffpp_small)
    rows, notes = recompression.measure_recompression(faces, faces.table, Brightness(), STORAGE, CONFIG)
    assert [row["amount"] for row in rows] == [recompression.AS_IT_IS, *recompression.CRFS]
    assert {row["videos"] for row in rows[:2]} == {2}
    assert rows[0]["auc"] == 0.5  # as it is: the scores that were given
    assert rows[1]["crops"] == 6
    assert all("CRF" in note for note in notes)


def test_it_is_said_where_the_videos_or_their_recipe_cannot_be_reached(ffpp_small: Path) -> None:
    faces = faces_of(ffpp_small)
    assert faces.videos is not None
    gone = pa.array([f"/nowhere/{i}.mp4" for i in range(faces.videos.num_rows)])
    place = faces.videos.schema.get_field_index("uri")
    unreachable = LabelledFaces(
        faces.kind, faces.uri, (), faces.table, MADE, videos=faces.videos.set_column(place, "uri", gone)
    )
    for some, words in ((unreachable, "no source video"), (faces_of(ffpp_small, {}), "not recorded how")):
        rows, (note,) = recompression.measure_recompression(some, some.table, Brightness(), STORAGE, CONFIG)
        assert rows == [] and words in note
