"""The demo's data set: layout, splits, honesty of its classes, and that it comes out the same each time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deepfake.errors import UsageError
from deepfake.pipelines.demo import DISCLAIMER, make_dataset
from deepfake.pipelines.demo.blending import METHODS
from deepfake.pipelines.demo.dataset import DatasetPlan
from deepfake.pipelines.demo.people import PEOPLE_OF_SPLIT


def frames(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(frames(path).tobytes()).hexdigest()
        for path in sorted(root.rglob("*.mp4"))
    }


def tiny(root: Path, **changes: object) -> Path:
    options: dict[str, object] = {
        "identities_per_split": 2, "fakes_per_identity": 1, "seconds": 0.2, "fps": 10, **changes
    }  # fmt: skip
    return make_dataset(root, **options).root  # type: ignore[arg-type]


def test_layout_is_that_of_faceforensics(ffpp_small: Path) -> None:
    videos = [path.relative_to(ffpp_small).as_posix() for path in sorted(ffpp_small.rglob("*.mp4"))]
    originals = [f"original_sequences/youtube/c23/videos/{i:03d}.mp4" for i in range(6)]
    assert [v for v in videos if v.startswith("original")] == originals
    fakes = [Path(v) for v in videos if v.startswith("manipulated")]
    assert {fake.parts[1] for fake in fakes} == set(METHODS)
    assert {fake.name for fake in fakes} == {f"{a}_{b}.mp4" for a, b in _pairs(ffpp_small)}


def _pairs(root: Path) -> set[tuple[str, str]]:
    listed = [json.loads((root / "splits" / f"{s}.json").read_text()) for s in ("train", "val", "test")]
    return {pair for split in listed for a, b in split for pair in ((a, b), (b, a))}


@pytest.mark.parametrize("identities", [2, 3, 4, 5])
def test_no_identity_is_in_two_splits_and_the_test_person_in_no_other(identities: int) -> None:
    plan = DatasetPlan(seed=0, identities=identities, fakes=2, frames=1, fps=30)
    members = [{i for pair in pairs for i in pair} for pairs in plan.list_splits().values()]
    assert sorted(i for ids in members for i in ids) == [f"{i:03d}" for i in range(3 * identities)]
    for clip in plan.list_clips():
        if clip.source is not None:
            assert any({f"{clip.target:03d}", f"{clip.source:03d}"} <= ids for ids in members)
    shown = {split: {who for one, who, _ in plan.list_rings() if one == split} for split in PEOPLE_OF_SPLIT}
    assert not shown["test"] & (shown["train"] | shown["val"])
    assert len(shown["train"]) == (1 if identities < 4 else 2)
    assert identities > 3 or not shown["train"] & shown["val"]


@pytest.mark.parametrize("fakes", [1, 2, 3, 4])
def test_every_method_is_used_and_no_clip_is_made_twice(fakes: int) -> None:
    clips = DatasetPlan(seed=0, identities=4, fakes=fakes, frames=1, fps=30).list_clips()
    assert len({clip.path for clip in clips}) == len(clips) == 12 * (1 + fakes)
    assert {clip.method for clip in clips} == {None, *METHODS}


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(tmp_path: Path) -> None:
    first = digests(tiny(tmp_path / "a", workers=1))
    assert digests(tiny(tmp_path / "b", workers=2)) == first
    other = digests(tiny(tmp_path / "c", seed=1))
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())


def test_both_classes_have_the_same_container_facts(ffpp_small: Path) -> None:
    facts = set()
    for path in ffpp_small.rglob("*.mp4"):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            codec = stream.codec_context
            facts.add(
                (
                    codec.name,
                    codec.profile,
                    codec.pix_fmt,
                    codec.width,
                    codec.height,
                    stream.average_rate,
                    stream.frames,
                )
            )
    assert len(facts) == 1, facts


@pytest.mark.slow(2)
def test_a_fake_differs_from_its_original_in_the_face_only(ffpp_small: Path) -> None:
    for fake in sorted(ffpp_small.glob("manipulated_sequences/*/c23/videos/*.mp4")):
        original = ffpp_small / "original_sequences/youtube/c23/videos" / f"{fake.stem[:3]}.mp4"
        difference = np.abs(frames(fake)[:10].astype(int) - frames(original)[:10]).mean(axis=(0, 3))
        rows, columns = np.nonzero(difference > 0.5 * difference.max())
        assert np.ptp(rows) < 200 and np.ptp(columns) < 200, fake
        border = np.concatenate([difference[:20].ravel(), difference[-20:].ravel()])
        assert border.mean() < 0.15 * difference.max(), fake
        assert difference.max() > 8, fake


@pytest.mark.slow(4)
def test_haar_finds_the_face_in_nearly_all_frames(ffpp_small: Path) -> None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    sampled = [image for path in sorted(ffpp_small.rglob("*.mp4")) for image in frames(path)[::15]]
    found = [
        len(cascade.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(45, 45))) > 0
        for image in sampled
    ]
    assert len(sampled) == 48
    assert sum(found) >= 46


def test_a_complete_data_set_is_left_alone_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    root = tiny(tmp_path)
    video = next(root.rglob("001.mp4"))
    written = video.stat().st_mtime_ns
    again = make_dataset(root, identities_per_split=2, fakes_per_identity=1, seconds=0.2, fps=10)
    assert again.reused and video.stat().st_mtime_ns == written
    video.unlink()
    tiny(root)
    assert video.is_file()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds other files \(thesis\.docx"):
        tiny(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_data_set_made_otherwise_is_refused(tmp_path: Path) -> None:
    tiny(tmp_path)
    with pytest.raises(UsageError, match="made otherwise"):
        tiny(tmp_path, seed=1)


def test_one_identity_has_nobody_to_swap_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 or more identities"):
        tiny(tmp_path, identities_per_split=1)


def test_the_data_set_says_what_its_scores_are_worth(ffpp_small: Path) -> None:
    assert json.loads((ffpp_small / "dataset.json").read_text())["about"] == DISCLAIMER
    assert "mean nothing about real deepfakes" in DISCLAIMER
