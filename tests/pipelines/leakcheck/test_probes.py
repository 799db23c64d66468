"""Shortcut probes: what they catch, what they leave alone, and when they say nothing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.config import LeakcheckConfig
from deepfake.io import tables
from deepfake.pipelines.leakcheck import fingerprints, probe_features, probes
from deepfake.pipelines.leakcheck.probes import Probe
from tests.pipelines.leakcheck.made import crop, face, looked_at, rotated, videos_of

CONFIG = LeakcheckConfig(bootstrap=200)
VIDEOS = 40  # of each class


def measured(
    images: list[tuple[str, np.ndarray, int, str]], config: LeakcheckConfig = CONFIG
) -> dict[str, Probe]:
    """The probes of some pictures, by their groups."""
    videos = tables.from_rows("videos", videos_of([crop(name, SMALL, label) for name, _, label, _ in images]))
    found = probes.run_probes(
        probe_features.collect_samples(looked_at(images), videos, config.crops_per_video), config
    )
    return {probe.group: probe for probe in found}


SMALL = np.zeros((4, 4, 3), np.uint8)


def seed_recipe(border: int, both: bool) -> list[tuple[str, np.ndarray, int, str]]:
    """Two crops of each video; each gets a copy turned by 5 degrees, unless it is real and not ``both``."""
    images = []
    for i in range(2 * VIDEOS):
        label, name = i % 2, f"{i:03d}.mp4"
        for original in (face(2 * i), face(2 * i + 1)):
            images.append((name, original, label, "train"))
            if label == 1 or both:
                images.append((name, rotated(original, 5.0, border), label, "train"))
    return images


def test_black_corners_of_rotated_fakes_are_caught_and_named() -> None:
    found = measured(seed_recipe(cv2.BORDER_CONSTANT, both=False))
    border = found["border pixels"]
    assert border.verdict == "shortcut"
    assert border.auc is not None and border.auc > 0.9
    assert border.features[0].name in ("corner_black", "edge_black", "edge_constant", "edge_repeated")
    assert border.features[0].higher_in == "fakes"
    assert border.put_in_words().startswith("fakes can be told from reals by border pixels alone: AUC")
    assert border in probes.list_shortcuts(list(found.values()))


def test_black_corners_alone_tell_the_rotated_copies_as_the_seed_recipe_makes_them() -> None:
    """The corner pixel has precision 1 and recall 1/2 among fakes: every second fake is a rotated copy."""
    images = seed_recipe(cv2.BORDER_CONSTANT, both=False)
    black = np.array([fingerprints.measure_border(image)["corner_black"] > 0.2 for _, image, _, _ in images])
    fake = np.array([label == 1 for _, _, label, _ in images])
    assert fake[black].all()
    assert black[fake].mean() == pytest.approx(0.5)


@pytest.mark.parametrize("border", [cv2.BORDER_REFLECT, cv2.BORDER_CONSTANT])
def test_the_same_rotation_of_both_classes_tells_nothing(border: int) -> None:
    found = measured(seed_recipe(border, both=True))
    assert found["border pixels"].auc == pytest.approx(0.5, abs=0.14)
    assert found["border pixels"].verdict in ("none", "unclear")
    assert probes.list_shortcuts(list(found.values())) == []


@pytest.mark.parametrize(
    ("change", "group", "feature"),
    [
        (lambda i: cv2.GaussianBlur(i, (0, 0), 2.0), "sharpness", "sharpness"),
        (lambda i: cv2.convertScaleAbs(i, beta=-40), "colour", "brightness"),
    ],
)
def test_a_shortcut_is_told_by_its_own_group(change: object, group: str, feature: str) -> None:
    assert callable(change)
    images = [
        (f"{i:03d}.mp4", change(face(i)) if i % 2 else face(i), i % 2, "train") for i in range(2 * VIDEOS)
    ]
    found = measured(images)
    assert found[group].verdict == "shortcut"
    assert (found[group].features[0].name, found[group].features[0].higher_in) == (feature, "reals")


def test_metadata_of_files_is_probed_even_where_no_picture_was_looked_at() -> None:
    rng = np.random.default_rng(0)
    rows = videos_of(
        [crop(f"{i:03d}.mp4", SMALL, i % 2) for i in range(2 * VIDEOS)],
        size_bytes=[int(1e6 * (3 if i % 2 else 1) * rng.uniform(0.8, 1.2)) for i in range(2 * VIDEOS)],
        duration_s=[10.0] * 2 * VIDEOS,
        codec=["h264", "mpeg4"] * VIDEOS,
    )
    samples = probe_features.collect_samples(looked_at([]), tables.from_rows("videos", rows), 8)
    found = {probe.group: probe for probe in probes.run_probes(samples, CONFIG)}
    assert found["bit rate"].verdict == found["codec"].verdict == "shortcut"
    assert found["duration"].verdict == "not measured"
    assert "the same everywhere" in found["duration"].reason


@pytest.mark.parametrize("videos", [2, 19])
def test_too_few_videos_get_words_instead_of_a_number(videos: int) -> None:
    images = [(f"{i:03d}.mp4", face(i), i % 2, "train") for i in range(2 * videos)]
    found = measured(images)
    assert {probe.verdict for probe in found.values()} == {"not measured"}
    assert all(probe.auc is None for probe in found.values())
    assert f"{videos} real and {videos} fake videos are too few" in found["colour"].reason


def test_few_identities_are_too_few_however_many_videos_they_have() -> None:
    rows = [crop(f"{i:03d}.mp4", SMALL, i % 2, group_id=f"person {i % 4}") for i in range(2 * VIDEOS)]
    images = [(row["video_id"], face(i), row["label"], "train") for i, row in enumerate(rows)]
    samples = probe_features.collect_samples(
        looked_at(images), tables.from_rows("videos", videos_of(rows)), 8
    )
    assert "identity groups" in probes.run_probes(samples, CONFIG)[0].reason


def test_unlabelled_videos_are_left_out_and_each_video_gives_as_many_crops_as_asked() -> None:
    images = [(f"{i % 3}.mp4", face(i), i % 3 % 2, "train") for i in range(60)]
    rows = videos_of([crop(name, SMALL, label) for name, _, label, _ in images])
    rows[2]["label"] = None
    samples = probe_features.collect_samples(looked_at(images), tables.from_rows("videos", rows), 5)
    assert np.bincount(samples.video).tolist() == [5, 5]


@pytest.mark.slow(4)
def test_the_order_of_the_rows_does_not_change_the_numbers() -> None:
    images = seed_recipe(cv2.BORDER_CONSTANT, both=False)[:180]
    assert measured(images) == measured(images)


def test_border_numbers_tell_black_bars_from_pictures() -> None:
    barred = face(1)
    barred[:12] = 0
    barred[-12:] = 0
    plain, bars = fingerprints.measure_border(face(1)), fingerprints.measure_border(barred)
    assert plain["edge_black"] < 0.05 and bars["edge_black"] > 0.5
    assert bars["corner_black"] == 1.0


@pytest.mark.parametrize(
    ("auc", "low", "high", "verdict"),
    [
        (0.7, 0.55, 0.8, "shortcut"),
        (0.7, 0.45, 0.9, "unclear"),
        (0.55, 0.4, 0.7, "unclear"),
        (0.51, 0.47, 0.55, "none"),
        (0.7, None, None, "unclear"),
    ],
)
def test_a_verdict_is_given_only_where_the_interval_allows_one(
    auc: float, low: float | None, high: float | None, verdict: str
) -> None:
    assert probes.judge_auc(auc, low, high, CONFIG) == verdict


def test_the_summary_names_what_was_not_measured_once() -> None:
    few = [Probe(name, "not measured", reason="3 videos are too few") for name in ("box", "codec")]
    assert probes.summarize_probes(few) == "not measured: 3 videos are too few"
    found = probes.summarize_probes([Probe("size", "none", 0.5), *few])
    assert found == {"size": "none", "not measured": "box, codec"}
