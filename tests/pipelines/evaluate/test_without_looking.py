"""What is reached by facts of crops alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.config import EvaluateJobConfig
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import inputs, without_looking
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from tests.pipelines.evaluate.faces import crop, two_classes, write

STORAGE = Storage()


def crops(split: str, videos: int = 12, frames: int = 3, told: bool = True) -> list[dict]:
    """Fakes' faces are larger than reals', where it is ``told``; the pixels are noise."""
    source = np.random.default_rng(0)
    rows = []
    for label in (0, 1):
        for i in range(videos):
            for frame in range(frames):
                side = float(source.uniform(50, 100) + 40 * label * told)
                box = {"x": 0.0, "y": 0.0, "w": side, "h": side}
                rows.append(crop(f"{split}/{label}-{i:02d}.mp4", frame, label, split=split, box=box))
    return rows


def load(folder: Path, *rows: dict) -> LabelledFaces:
    return inputs.load_faces(write(folder, "crops", rows), STORAGE)


def test_what_gives_fakes_away_is_learnt_on_training_crops_and_asked_of_the_others(tmp_path: Path) -> None:
    loaded = load(tmp_path / "in", *crops("train"), *crops("test"))
    lesson = without_looking.choose_lesson(loaded, "test", "train")
    assert lesson.crops is not None
    assert lesson.put_in_words() == f"Learnt on 72 crops of 24 videos of split train, {tmp_path / 'in'}."
    asked = inputs.select_split(loaded, "test")
    config = EvaluateJobConfig(input=loaded.uri, output=str(tmp_path / "out"))
    (scores,) = without_looking.score_without_looking(lesson.crops, [asked], STORAGE, config)
    assert roc_auc_score(asked.table["label"].to_numpy(), scores) > 0.75


def test_the_bytes_of_a_crop_are_one_of_its_facts(tmp_path: Path) -> None:
    rows = crops("train", told=False) + crops("test", told=False)
    for row in rows:
        row["crop"] += bytes(1000 * row["label"])
    loaded = load(tmp_path / "in", *rows)
    lesson, asked = (
        without_looking.choose_lesson(loaded, "test", "train"),
        inputs.select_split(loaded, "test"),
    )
    assert lesson.crops is not None
    config = EvaluateJobConfig(input=loaded.uri, output=str(tmp_path / "out"))
    (scores,) = without_looking.score_without_looking(lesson.crops, [asked], STORAGE, config)
    assert roc_auc_score(asked.table["label"].to_numpy(), scores) == 1.0


def test_a_lesson_takes_a_few_crops_of_some_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(without_looking, "VIDEOS", 4)
    monkeypatch.setattr(without_looking, "CROPS_A_VIDEO", 2)
    lesson = without_looking.choose_lesson(load(tmp_path / "in", *crops("train")), "test", "train").crops
    assert lesson is not None
    names = lesson.table["video_id"].to_pylist()
    assert len(names) == 2 * 4 * 2 and len(set(names)) == 8


@pytest.mark.parametrize(
    ("rows", "asked", "words"),
    [
        (crops("test"), "test", "these crops have no real ones of split train to learn from"),
        ([r for r in crops("train") if not r["label"]], "test", "have no fake ones of split train"),
        (crops("train"), "train", "the split that is measured holds the training crops"),
        (crops("train"), "all", "the split that is measured holds the training crops"),
    ],
)
def test_where_nothing_can_be_learnt_it_is_said_why(
    tmp_path: Path, rows: list[dict], asked: str, words: str
) -> None:
    lesson = without_looking.choose_lesson(load(tmp_path / "in", *rows), asked, "train")
    assert lesson.crops is None and words in lesson.put_in_words()


def test_scores_hold_no_facts_to_learn_from(tmp_path: Path) -> None:
    loaded = inputs.load_faces(write(tmp_path / "in", "face_scores", two_classes()), STORAGE)
    assert "scores and no crops" in without_looking.choose_lesson(loaded, "test", "train").put_in_words()
