"""A child's answer is taken where it can be one to what was asked, and refused where it cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops import answers, chunks, pictures
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.faces.detectors.base import Detection
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import PROGRAM_FAULT, TableError
from deepfake.video.frame import Frame
from tests.clips import write_clip
from tests.rows import catalog_row

CONFIG = ExtractConfig(
    SamplingConfig(every_n=8), DetectorConfig(name="haar", keep="all"), CropConfig(size=64)
)
STORAGE = Storage()


class Pair:
    """Finds two faces in every frame; in the name of the detector that is asked for."""

    name = "haar"

    def detect(self, frame: Frame) -> list[Detection]:
        return [Detection(20, 30, 40, 40, 0.9), Detection(110, 60, 40, 40, 0.8)]


@dataclass
class Answer:
    """What a child says of a clip."""

    entry: dict[str, Any]
    video: dict[str, Any]
    table: pa.Table
    name: str
    asked: dict[str, Any]

    def check(self, video: Mapping[str, Any] | None = None, table: pa.Table | None = None) -> dict[str, Any]:
        videos = tables.from_rows("videos", [self.video | dict(video or {})])
        table = self.table if table is None else table
        return answers.require_fit(self.entry, videos, table, self.name, self.asked, CONFIG)

    def tell(self, **values: Any) -> pa.Table:
        """The table with other values in its first row."""
        first, *others = self.table.to_pylist()
        return pa.Table.from_pylist([first | values, *others], self.table.schema)


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    clip = write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", frames=16)
    return catalog_row("a.mp4", uri=str(clip), label=1, method="Swap")


@pytest.fixture(scope="module")
def crops(entry: dict[str, Any]) -> Answer:
    found = extract(entry, CONFIG, Pair(), STORAGE)
    return Answer(entry, found.video, found.table, "crops", {})


@pytest.fixture(scope="module")
def shown(entry: dict[str, Any]) -> Answer:
    faces = [{"frame_index": 5, "box": {"x": 40.0, "y": 30.0, "w": 50.0, "h": 50.0}}]
    found = pictures.show_frames(entry, faces, 96, CONFIG, Pair(), STORAGE)
    return Answer(entry, found.video, found.table, "pictures", {"faces": faces, "side": 96})


def test_what_a_video_gives_is_its_answer_through_arrow(crops: Answer, shown: Answer) -> None:
    for answer in (crops, shown):
        table = answers.read_answer(tables.to_ipc(answer.table).to_pybytes(), answer.name)
        assert table.equals(answer.table) and table.num_rows
        assert answer.check(table=table)["status"] == "ok"


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_a_packed_table_is_not_unpacked(crops: Answer, codec: str) -> None:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, crops.table.schema, options=options) as stream:
        stream.write_table(crops.table)
    with pytest.raises(answers.Misfit, match="packed"):
        answers.read_answer(sink.getvalue().to_pybytes(), "crops")


def test_a_dictionary_and_another_table_are_not_taken(crops: Answer) -> None:
    words = pa.table({"a": pa.array(["x"]).dictionary_encode()})
    with pytest.raises(answers.Misfit):
        answers.read_answer(tables.to_ipc(words).to_pybytes(), "crops")
    with pytest.raises(TableError):
        answers.read_answer(tables.to_ipc(crops.table).to_pybytes(), "pictures")


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"video_id": "b.mp4"}, "video_id"),
        ({"label": 0}, "label"),
        ({"duplicate_of": "b.mp4"}, "duplicate_of"),
        ({"status": "skipped_duplicate"}, "status"),
        ({"status": "no_face"}, "4 rows and status no_face"),
        ({"detector": "yunet"}, "another detector"),
        ({"content_sha256": "0" * 63}, "no hash"),
        ({"status_detail": f"{PROGRAM_FAULT}: a key"}, "a fault of this program"),
        ({"status_detail": "x" * (answers.LONGEST_TEXT + 1)}, "too long"),
        ({"status_detail": "a\0b"}, "too long"),
        ({"duration_s": math.nan}, "duration_s is nan"),
        ({"frames_total": -1}, "frames_total is -1"),
        ({"frames_with_face": 3}, "more frames with a face"),
        ({"frames_with_face": 1}, "^2 frames with a face"),
        ({"faces": 5}, "5 faces, 4 crops"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_a_row_that_lies_about_its_video_is_refused(crops: Answer, lie: dict[str, Any], words: str) -> None:
    with pytest.raises(answers.Misfit, match=words):
        crops.check(video=lie)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"video_id": "b.mp4"}, "video_id of a crop"),
        ({"label": None}, "label of a crop"),
        ({"crop_format": "webp"}, "crop_format of a crop"),
        ({"face_index": 1}, "a face twice"),
        ({"sharpness": math.inf}, "a number that is none"),
        ({"box": {"x": math.nan, "y": 0.0, "w": 1.0, "h": 1.0}}, "a number that is none"),
        ({"crop": b"no picture"}, "a crop of None pixels"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_a_crop_that_cannot_be_of_the_video_is_refused(
    crops: Answer, lie: dict[str, Any], words: str
) -> None:
    with pytest.raises(answers.Misfit, match=words):
        crops.check(table=crops.tell(**lie))


def test_a_crop_or_surroundings_of_another_size_are_refused(crops: Answer) -> None:
    first = crops.table.to_pylist()[0]
    with pytest.raises(answers.Misfit, match=r"a crop of .*84"):
        crops.check(table=crops.tell(crop=first["surround"]))
    with pytest.raises(answers.Misfit, match=r"a surround of .*64"):
        crops.check(table=crops.tell(surround=first["crop"]))


def test_a_video_is_told_of_in_one_row_and_is_ok_with_faces_alone(crops: Answer) -> None:
    videos = tables.from_rows("videos", [crops.video] * 2)
    with pytest.raises(answers.Misfit, match="2 rows for one video"):
        answers.require_fit(crops.entry, videos, crops.table, "crops", {}, CONFIG)
    with pytest.raises(answers.Misfit, match="ok without a face"):
        crops.check(video={"faces": 0, "frames_with_face": 0}, table=crops.table.slice(0, 0))


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"frame_index": 6}, "other pictures"),
        ({"width": 95}, "a picture of another size"),
        ({"frame_width": 10**6, "frame_height": 10**6}, "a frame that is too large"),
        ({"width": 97, "height": 1, "rgb": bytes(3 * 97)}, "a picture that is too large"),
        ({"crop": None}, "a crop of another size"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_a_picture_that_was_not_asked_for_is_refused(shown: Answer, lie: dict[str, Any], words: str) -> None:
    with pytest.raises(answers.Misfit, match=words):
        shown.check(table=shown.tell(**lie))


def test_more_pictures_than_faces_are_refused(shown: Answer) -> None:
    twice = pa.concat_tables([shown.table] * 2)
    with pytest.raises(answers.Misfit, match="2 pictures"):
        shown.check(video={"frames_sampled": 2}, table=twice)


@pytest.mark.parametrize(
    "bounds", [[], [1, 2], [0, 2, 2], [0, 2.0], "0", None, [0, *range(1, 10_001)]], ids=repr
)
def test_a_survey_has_the_bounds_of_pieces_in_order(entry: dict[str, Any], bounds: Any) -> None:
    found = chunks.survey_packets(entry, 0.2, CONFIG, Pair(), STORAGE)
    good = Answer(entry, found.video, found.table, "packets", {})
    assert good.check()["status"] == "ok"
    told = {**found.table.schema.metadata, chunks.LISTING_KEY: json.dumps({"bounds": bounds})}
    with pytest.raises(answers.Misfit, match="bounds"):
        good.check(table=found.table.replace_schema_metadata(told))


def test_what_a_child_spent_comes_with_its_row(crops: Answer) -> None:
    row = tables.from_rows("videos", [crops.video])
    told = answers.add_account(row, {"decode": 0.5, "idle": 2.0}, {"bytes_read": 7, "lies": 3})
    through = answers.read_answer(tables.to_ipc(told).to_pybytes(), "videos")
    seconds, counts = answers.read_account(through)
    assert seconds == {"read": 0.0, "decode": 0.5, "detect": 0.0, "crop": 0.0} and counts == {
        "bytes_read": 7.0
    }
    assert answers.read_account(row) == ({}, {})


@pytest.mark.parametrize(
    "account",
    [b"", b"[]", b"[1, 2]", b"[[], []]", b'[{"decode": -1}, {}]', b'[{"decode": NaN}, {}]',
     b'[{}, {"bytes_read": 1e99}]', b'[{"decode": "x"}, {}]', b'[{"decode": [1]}, {}]', b"[" * 100_000,
     b'[{"decode": 1' + b"0" * 400 + b"}, {}]"],
)  # fmt: skip
def test_an_account_that_cannot_be_is_refused(crops: Answer, account: bytes) -> None:
    row = tables.from_rows("videos", [crops.video]).replace_schema_metadata({b"account": account})
    with pytest.raises(answers.Misfit, match="account"):
        answers.read_account(row)
