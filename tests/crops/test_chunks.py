"""A long video in pieces gives the rows of one that is worked through whole, and goes on after a kill."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deepfake.config import (
    CropConfig,
    DetectorConfig,
    PreprocessJobConfig,
    SamplingConfig,
    hash_config,
)
from deepfake.crops import chunks
from deepfake.crops.chunks import Pieces
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, extract
from deepfake.execution import long_videos, planning, runner, work_units
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import Output
from deepfake.faces.detectors.base import Detection
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.uri import join
from deepfake.pipelines.preprocess import pipeline
from deepfake.video.frame import Frame
from tests.clips import write_clip

GROUPS = {"x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=2"}
CLIPS: dict[str, dict[str, Any]] = {
    "long.mp4": {"options": GROUPS},
    "open.mp4": {"options": {"x264-params": GROUPS["x264-params"] + ":open-gop=1"}},
    "long.mkv": {"options": GROUPS},
    "long.ts": {"options": GROUPS},
    "one-group.mp4": {"options": {"x264-params": "keyint=999"}},
    "refresh.mp4": {"options": {"x264-params": "keyint=20:intra-refresh=1:bframes=0"}},
    "counted.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


class Crowd:
    """Finds people by the frame's number: one who moves, one who comes and goes, a false face at times."""

    name = "crowd"

    def detect(self, frame: Frame) -> list[Detection]:
        i = frame.index
        found = [Detection(10 + i / 7, 20 + i / 13, 41.3, 40.1, 0.9, (float(i),) * 10)]
        if i % 40 < 20:
            found.append(Detection(90 - i / 9, 60, 30, 30.7, 0.8))
        if i % 24 == 0:
            found.append(Detection(30, 5, 100, 100, 0.31))
        return found if i % 36 != 6 else []


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for name, how in CLIPS.items():
        write_clip(folder / name, frames=120, **how)
    (folder / "joined.ts").write_bytes(2 * (folder / "long.ts").read_bytes())
    whole = (folder / "long.mkv").read_bytes()
    (folder / "cut-off.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    damaged = bytearray((folder / "long.mp4").read_bytes())
    for start in range(len(damaged) // 3, len(damaged) // 3 + 2000, 7):
        damaged[start] ^= 0xFF
    (folder / "damaged.mp4").write_bytes(damaged)
    return folder


def in_pieces(
    entry: dict[str, Any], config: ExtractConfig, folder: Path, piece_seconds: float
) -> tuple[ExtractionResult, int]:
    """Survey, look at each piece, join: what the job does, in this process; and how many pieces."""
    storage, detector = Storage(), Crowd()
    survey = chunks.survey_packets(entry, piece_seconds, config, detector, storage)
    tables.write_table(storage, join(str(folder), "packets/s.parquet"), survey.table)
    tables.write_table(
        storage, join(str(folder), "videos/s.parquet"), tables.from_rows("videos", [survey.video])
    )
    whole = Pieces(str(folder), "s", ())
    bounds = chunks.read_bounds(whole.packets_uri, storage)
    packets = tables.read_table(storage, whole.packets_uri, "packets")
    ids = []
    for first, stop in itertools.pairwise(bounds):
        found = chunks.find_piece_faces(entry, (first, stop), packets, config, detector, storage)
        ids.append(f"p{first}")
        tables.write_table(storage, join(str(folder), f"pieces/p{first}.parquet"), found.table, 4)
        row = tables.from_rows("videos", [found.video])
        tables.write_table(storage, join(str(folder), f"videos/p{first}.parquet"), row)
    return chunks.join_pieces(entry, Pieces(str(folder), "s", tuple(ids)), config, storage), len(ids)


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    full = tables.from_rows("videos", [row]).to_pylist()[0]
    return {name: value for name, value in full.items() if not name.endswith("_seconds")}


@pytest.mark.parametrize("keep", ["largest", "all", "track"])
@pytest.mark.parametrize("name", [*CLIPS, "joined.ts", "cut-off.mkv", "damaged.mp4"])
def test_pieces_joined_are_the_rows_of_the_whole(clips: Path, tmp_path: Path, name: str, keep: str) -> None:
    entry = {"video_id": name, "uri": str(clips / name), "size_bytes": 1, "label": 1, "method": "FaceSwap"}
    config = ExtractConfig(
        SamplingConfig(every_n=3), DetectorConfig(name="haar", keep=keep), CropConfig(size=64)
    )
    whole = extract(entry, config, Crowd(), Storage())
    joined, count = in_pieces(entry, config, tmp_path, 0.5)
    assert whole.rows
    assert (count > 3) == (name not in ("one-group.mp4", "counted.avi"))
    assert comparable(joined.video) == comparable(whole.video)
    assert joined.rows == whole.rows


def test_boxes_of_the_original_are_found_piece_by_piece_too(clips: Path, tmp_path: Path) -> None:
    entry = {
        "video_id": "fake.mp4",
        "uri": str(clips / "open.mp4"),
        "size_bytes": 1,
        "original_uri": str(clips / "long.mkv"),
    }
    config = ExtractConfig(
        SamplingConfig(every_n=5), DetectorConfig(name="haar", boxes="from_original"), CropConfig(size=64)
    )
    joined, count = in_pieces(entry, config, tmp_path, 0.5)
    assert count > 3
    assert joined.rows == extract(entry, config, Crowd(), Storage()).rows


def test_a_video_none_of_whose_frames_comes_out_has_the_status_of_the_whole(
    clips: Path, tmp_path: Path
) -> None:
    content = bytearray((clips / "long.mp4").read_bytes())
    start = content.index(b"mdat") + 4
    content[start : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - start)
    (tmp_path / "blank.mp4").write_bytes(content)
    entry = {"video_id": "blank.mp4", "uri": str(tmp_path / "blank.mp4"), "size_bytes": 1}
    config = ExtractConfig(SamplingConfig(every_n=3), DetectorConfig(name="haar"), CropConfig())
    whole = extract(entry, config, Crowd(), Storage())
    joined, count = in_pieces(entry, config, tmp_path / "staged", 0.5)
    assert count > 3
    assert whole.video["status"] == Status.DECODE_ERROR
    assert comparable(joined.video) == comparable(whole.video)
    assert not joined.rows


def test_a_piece_whose_process_died_gives_the_row_of_a_whole_video_whose_process_died(
    clips: Path, tmp_path: Path
) -> None:
    entry = {"video_id": "long.mp4", "uri": str(clips / "long.mp4"), "size_bytes": 1}
    config = ExtractConfig(SamplingConfig(every_n=3), DetectorConfig(name="haar"), CropConfig())
    in_pieces(entry, config, tmp_path, 0.5)
    died = chunks.make_video_row(entry) | {"status": Status.TIMEOUT, "status_detail": "took longer; stopped"}
    uri = join(str(tmp_path), "videos", "p0.parquet")
    tables.write_table(Storage(), uri, tables.from_rows("videos", [died]))
    whole = Pieces(str(tmp_path), "s", ("p0",))
    assert comparable(chunks.join_pieces(entry, whole, config, Storage()).video) == comparable(died)


def test_an_object_that_was_replaced_between_two_pieces_is_unreadable(clips: Path, tmp_path: Path) -> None:
    entry = {"video_id": "long.mp4", "uri": str(clips / "long.mp4"), "size_bytes": 1}
    config = ExtractConfig(SamplingConfig(every_n=3), DetectorConfig(name="haar"), CropConfig())
    in_pieces(entry, config, tmp_path, 0.5)
    ids = tuple(sorted(path.stem for path in (tmp_path / "pieces").glob("*.parquet")))
    for number, name in enumerate(ids):
        uri = join(str(tmp_path), "videos", f"{name}.parquet")
        [row] = tables.read_table(Storage(), uri, "videos").to_pylist()
        tables.write_table(Storage(), uri, tables.from_rows("videos", [row | {"etag": f"{number // 3}"}]))
    row = chunks.join_pieces(entry, Pieces(str(tmp_path), "s", ids), config, Storage()).video
    assert (row["status"], row["status_detail"]) == (Status.UNREADABLE, "it was replaced while it was read")


def test_a_listing_comes_back_from_its_table(clips: Path) -> None:
    entry = {"video_id": "open.mp4", "uri": str(clips / "open.mp4")}
    config = ExtractConfig(SamplingConfig(), DetectorConfig(name="haar"), CropConfig())
    survey = chunks.survey_packets(entry, 1.0, config, Crowd(), Storage())
    listing = chunks.read_packets_table(survey.table)
    assert chunks.make_packets_table(listing, [0, 4]).equals(survey.table)
    assert listing.info.frames_total == 120
    assert listing.packets.times[-1] == pytest.approx(119 / 25)


# The job.


def job(source: Path, output: Path, **sampling: Any) -> PreprocessJobConfig:
    return PreprocessJobConfig.model_validate(
        {
            "input": str(source),
            "output": str(output),
            "detector": {"name": "haar"},
            "sampling": {"every_n": 2, **sampling},
        }
    )


TINY = {"long_video_mb": 0.01, "piece_seconds": 0.5}


@pytest.fixture(scope="module")
def archive(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips with faces: two of several groups, one of a single one; and one that is no video."""
    import av

    folder = tmp_path_factory.mktemp("archive")
    sources = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[:3]
    for number, source in enumerate(sources):
        with av.open(str(source)) as given, av.open(str(folder / f"{number}.mp4"), "w") as made:
            stream = made.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
            stream.options = {"x264-params": "keyint=15:scenecut=0"} if number < 2 else {}
            for frame in given.decode(video=0):
                made.mux(stream.encode(frame))
            made.mux(stream.encode(None))
    (folder / "broken.mp4").write_bytes(b"no video" * 5000)
    return folder


@pytest.fixture(scope="module")
def whole(archive: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    output = tmp_path_factory.mktemp("whole") / "crops"
    pipeline.run(job(archive, output))
    return output


def manifest(output: Path) -> pd.DataFrame:
    rows = pd.read_parquet(output / "_manifest.parquet")
    return rows[[name for name in rows if not name.endswith("_seconds")]]


def staged(output: Path, table: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (output / "_work" / table).glob("*.parquet")}


def test_the_job_gives_the_same_files_with_and_without_pieces_and_goes_on_after_a_stop(
    archive: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "crops"
    run_on_workers = runner.run_on_workers

    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_on_workers", power_cut)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(job(archive, output, **TINY))
    first = staged(output, "pieces")
    assert len(first) >= 4
    assert not (output / "part-00000.parquet").exists()
    lost = sorted(first)[0]
    for table in ("pieces", "videos"):
        (output / "_work" / table / lost).unlink()

    def again(*arguments: Any) -> Any:
        second = staged(output, "pieces")
        assert [name for name in second if second[name] != first[name]] == [lost]
        return run_on_workers(*arguments)

    monkeypatch.setattr(runner, "run_on_workers", again)
    pipeline.run(job(archive, output, **TINY))
    assert (output / "part-00000.parquet").read_bytes() == (whole / "part-00000.parquet").read_bytes()
    pd.testing.assert_frame_equal(manifest(output), manifest(whole))
    assert manifest(output)["status"].tolist() == ["ok", "ok", "ok", "unreadable"]
    assert not (output / "_work").exists()


def test_past_the_deadline_no_piece_is_begun_and_its_unit_is_left_out(
    archive: Path, tmp_path: Path, ray_session: None
) -> None:
    config = job(archive, tmp_path / "crops", **TINY)
    output = Output(config.output, Storage(), hash_config(config), pipeline.FOLDERS)
    plan = work_units.plan_units(planning.list_videos(config, output), output.config_sha256)
    extraction = ExtractConfig(config.sampling, config.detector, config.crop)
    left = long_videos.share_pieces(plan, extraction, config.ray, output, deadline=Deadline(0))
    names = [name for unit in left for name in unit.rows["video_id"].to_pylist()]
    assert not {"0.mp4", "1.mp4"} & set(names)
    assert not staged(tmp_path / "crops", "pieces")


def test_only_large_videos_are_looked_into_first(archive: Path, ray_session: None, tmp_path: Path) -> None:
    sizes = sorted(path.stat().st_size for path in archive.glob("?.mp4"))
    listed = tables.from_rows(
        "catalog",
        [{"video_id": "a.mp4", "uri": "a.mp4", "size_bytes": size} for size in [None, *sizes]]
        + [{"video_id": "b.png", "uri": "b.png", "size_bytes": 10**9}],
    )
    found = long_videos.list_long_videos(listed, (sizes[1] + 1) / 1e6)
    assert [row["size_bytes"].to_pylist() for row in found] == [[sizes[2]]]


@pytest.mark.slow
def test_the_score_job_scores_the_faces_of_long_videos_that_preprocess_finds(
    archive: Path, whole: Path, tmp_path: Path
) -> None:
    import deepfake.pipelines.score.pipeline
    from deepfake.config import ScoreJobConfig
    from tests.small_bundle import save_untrained

    save_untrained(str(tmp_path / "bundle"))
    config = job(archive, tmp_path / "scores", **TINY).model_dump(include={"input", "output", "sampling"})
    config |= {"bundle": str(tmp_path / "bundle"), "detector": {"name": "haar"}, "report": {"pages": 0}}
    summary = deepfake.pipelines.score.pipeline.run(ScoreJobConfig.model_validate(config)).summary
    assert summary["by_status"] == {"ok": 3, "unreadable": 1}
    columns = ["video_id", "frame_index", "time_s", "face_index", "track_id", "box", "detector_score"]
    scored = pd.read_parquet(tmp_path / "scores" / "face_scores")[columns]
    pd.testing.assert_frame_equal(scored, pd.read_parquet(whole)[columns])
