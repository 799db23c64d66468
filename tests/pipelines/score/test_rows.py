"""From scored crops to rows, with a scorer whose answer is easy to know: how bright a crop is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from deepfake.config import ScoringConfig
from deepfake.io import tables
from deepfake.io.tables import Status
from deepfake.metrics import aggregate
from deepfake.model.verdicts import VerdictRule
from deepfake.pipelines.score.rows import THUMBNAIL_SIDE, Judgement, score_crops, score_tables
from tests.rows import crop_row, video_row


def brightness(crops: np.ndarray) -> np.ndarray:
    """Scores a crop by its mean value: black 0, white 1."""
    assert crops.dtype == np.uint8 and crops.shape[1:] == (224, 224, 3)
    return crops.mean(axis=(1, 2, 3)) / 255


def score(
    videos: list[dict[str, Any]],
    crops: list[dict[str, Any]],
    threshold: float = 0.5,
    unproven: str = "",
    **options: Any,
) -> dict[str, list[dict]]:
    config = ScoringConfig(**options)
    width = 0.05 if config.uncertain is None else config.uncertain
    point = VerdictRule("test", threshold, threshold - width, threshold + width, unproven=unproven)
    made = score_tables(
        tables.from_rows("videos", videos),
        tables.from_rows("crops", crops),
        score_crops([crop["crop"] for crop in crops], brightness),
        Judgement(config, point, "b" * 64, "c" * 64, "versions"),
    )
    for name, table in made.items():
        assert table.schema.equals(tables.make_schema(name, "c" * 64), check_metadata=True)
    return {name: table.to_pylist() for name, table in made.items()}


def crops_of(video_id: str, greys: list[int], **values: Any) -> list[dict[str, Any]]:
    return [crop_row(video_id, i, grey, **values) for i, grey in enumerate(greys)]


GREYS = [51, 204, 102, 255, 0]


@pytest.mark.parametrize(
    ("aggregation", "top_k"),
    [("mean", 5), ("median", 5), ("max", 5), ("top_k", 2), ("top_k", 9), ("frame_max", 5)],
)
def test_a_videos_and_a_tracks_score_are_what_the_metrics_make_of_the_faces(
    aggregation: Any, top_k: int
) -> None:
    crops = crops_of("a", GREYS)
    for i, crop in enumerate(crops):
        crop |= {"track_id": i % 2, "face_index": i % 2, "frame_index": i // 2}  # two people a frame
    frames = np.array([crop["frame_index"] for crop in crops])
    made = score([video_row("a")], crops, aggregation=aggregation, top_k=top_k)
    faces = [grey / 255 for grey in GREYS]
    assert [row["score"] for row in made["face_scores"]] == faces
    assert made["video_scores"][0]["score"] == aggregate(faces, aggregation, top_k, frames)
    assert [row["score"] for row in made["track_scores"]] == [
        aggregate(faces[i::2], aggregation, top_k, frames[i::2]) for i in range(2)
    ]


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_a_video_without_an_answer_keeps_its_status_and_has_no_score(status: Status) -> None:
    made = score([video_row("a", status=status, status_detail="why", faces=0)], [])
    (row,) = made["video_scores"]
    assert (row["status"], row["status_detail"]) == (status, "why")
    absent = ("score", "verdict", "worst_track_id", "worst_frame_index", "worst_time_s", "worst_face_score")
    assert {row[name] for name in absent} == {None}
    assert made["face_scores"] == made["track_scores"] == made["evidence"] == []


def test_too_few_faces_give_too_short_and_the_faces_keep_their_scores() -> None:
    made = score([video_row("a", faces=2)], crops_of("a", [10, 250]), min_faces=3)
    (row,) = made["video_scores"]
    assert (row["status"], row["score"], row["tracks"]) == (Status.TOO_SHORT, None, 0)
    assert row["status_detail"] == "2 faces, scoring.min_faces is 3"
    assert len(made["face_scores"]) == 2
    assert made["track_scores"] == made["evidence"] == []
    assert (
        score([video_row("a")], crops_of("a", [10, 250, 9]), min_faces=3)["video_scores"][0]["status"] == "ok"
    )


def test_the_worst_face_is_the_highest_and_of_several_the_earliest() -> None:
    crops = crops_of("a", [10, 250, 30, 250], track_id=0)
    crops[2]["track_id"] = 7
    (row,) = score([video_row("a")], crops)["video_scores"]
    assert (row["worst_frame_index"], row["worst_time_s"], row["worst_face_score"]) == (1, 1 / 25, 250 / 255)
    assert (row["worst_track_id"], row["tracks"]) == (0, 2)


def test_the_evidence_is_the_worst_face_as_a_small_jpeg() -> None:
    made = score([video_row("a"), video_row("b")], [*crops_of("a", [10, 200]), *crops_of("b", [90])])
    assert [(row["video_id"], row["frame_index"]) for row in made["evidence"]] == [("a", 1), ("b", 0)]
    image = cv2.imdecode(np.frombuffer(made["evidence"][0]["image"], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    assert np.abs(image.astype(int) - 200).max() <= 2


@pytest.mark.parametrize(
    ("grey", "verdict"),
    [
        (101, "likely_real"),
        (127, "uncertain"),
        (128, "uncertain"),
        (153, "likely_fake"),
        (255, "likely_fake"),
    ],
)
def test_the_verdict_is_uncertain_near_the_threshold(grey: int, verdict: str) -> None:
    (row,) = score([video_row("a")], crops_of("a", [grey]), uncertain=0.1)["video_scores"]
    assert (row["verdict"], row["threshold"], row["operating_point"]) == (verdict, 0.5, "test")
    assert (row["uncertain_from"], row["uncertain_to"]) == (0.4, 0.6)


def test_without_a_band_a_score_equal_to_the_threshold_is_called_fake() -> None:
    made = score([video_row("a")], crops_of("a", [51]), threshold=51 / 255, uncertain=0.0)
    assert made["video_scores"][0]["verdict"] == "likely_fake"


def test_without_proof_no_stretch_is_said_to_look_fake() -> None:
    videos, crops = [video_row("a")], crops_of("a", [255, 255])
    assert score(videos, crops)["segments"]
    unproven = score(videos, crops, unproven="it guesses")
    assert not unproven["segments"] and unproven["video_scores"][0]["segments_s"] is None


@pytest.mark.parametrize(
    ("policy", "expected"), [("faces", 0.8 / 3), ("max", 0.8), ("mean", 0.4), ("top_k", 0.4)]
)
def test_one_faked_person_among_several_counts_by_policy(policy: Any, expected: float) -> None:
    crops = crops_of("a", [204, 0, 0])
    for crop, track in zip(crops, [1, 0, 0], strict=True):
        crop["track_id"] = track
    made = score([video_row("a")], crops, over_tracks=policy, top_k=2)
    assert made["video_scores"][0]["score"] == pytest.approx(expected)
    assert made["video_scores"][0]["worst_track_id"] == 1


def test_segments_say_when_which_track_looks_fake() -> None:
    crops = crops_of("a", [0, 255, 255, 0, 255])
    for second, crop in enumerate(crops):
        crop["time_s"] = float(second)
    other = [{**crop, "track_id": 3, "face_index": 1} for crop in crops_of("a", [0, 0, 200])]
    made = score([video_row("a")], [*crops, *other], smooth_seconds=0.0)
    assert [
        (row["segment_index"], row["track_id"], row["start_s"], row["end_s"], row["faces"])
        for row in made["segments"]
    ] == [(0, 3, 0.06, 0.08, 1), (1, 0, 0.5, 2.5, 2), (2, 0, 3.5, 4.0, 1)]
    assert made["segments"][1]["highest_frame_index"] == 1
    (video,) = made["video_scores"]
    assert (video["segments"], video["segments_s"]) == (3, pytest.approx(2.52))
    assert [row["segments"] for row in made["track_scores"]] == [2, 1]


def test_certainty_columns_are_medians_over_the_scored_faces() -> None:
    crops = crops_of("a", [9, 9, 9])
    for crop, side, sharp in zip(crops, [20.0, 90.0, 50.0], [5.0, 1.0, 3.0], strict=True):
        crop["box"], crop["sharpness"] = {"x": 0.0, "y": 0.0, "w": side, "h": 10.0}, sharp
    (row,) = score([video_row("a")], crops)["video_scores"]
    assert (row["face_size_px"], row["sharpness"], row["longest_track_s"]) == (50.0, 3.0, 2 / 25)


def test_every_video_has_one_row_in_the_order_given_and_only_its_own_faces_count() -> None:
    videos = [video_row("b"), video_row("a", status="no_face", faces=0), video_row("c")]
    crops = [*crops_of("b", [0, 51]), *crops_of("c", [255])]
    rows = score(videos, crops)["video_scores"]
    assert [(row["video_id"], row["score"]) for row in rows] == [("b", 0.1), ("a", None), ("c", 1.0)]


def test_a_tracks_row_tells_when_it_was_seen() -> None:
    crops = crops_of("a", [1, 2, 3, 4])
    for crop, track in zip(crops, [5, 2, 5, 5], strict=True):
        crop["track_id"] = track
    rows = score([video_row("a")], crops)["track_scores"]
    assert [(row["track_id"], row["faces"], row["first_s"], row["last_s"]) for row in rows] == [
        (2, 1, 1 / 25, 1 / 25),
        (5, 3, 0.0, 3 / 25),
    ]


def test_every_row_names_the_bundle_and_the_configuration_and_carries_the_label() -> None:
    known = {"label": 1, "method": "Deepfakes", "split": "test", "group_id": "g"}
    made = score([video_row("a", **known)], crops_of("a", [9], **known))
    for name in ("face_scores", "track_scores", "video_scores"):
        (row,) = made[name]
        assert row.items() >= {"bundle_sha256": "b" * 64, "config_sha256": "c" * 64, **known}.items()


def test_a_long_video_is_scored_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = [crop["crop"] for crop in crops_of("a", list(range(0, 250, 10)))]
    asked: list[int] = []

    def counting(crops: np.ndarray) -> np.ndarray:
        asked.append(len(crops))
        return brightness(crops)

    before = score_crops(encoded, brightness)
    monkeypatch.setattr("deepfake.pipelines.score.rows.CROPS_AT_ONCE", 10)
    assert np.array_equal(score_crops(encoded, counting), before)
    assert asked == [10, 10, 5]


def test_no_crops_need_no_scorer() -> None:
    assert score_crops([], brightness).shape == (0,)
    assert all(isinstance(rows, list) and not rows for rows in score([], []).values())
