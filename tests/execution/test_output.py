"""An output folder grows unit by unit and is whole at the end; any step may be interrupted and done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.errors import UsageError
from deepfake.execution.output import Output, Part, describe_changes, regroup
from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from tests.rows import crop_row, video_row

CONFIG = "c" * 64
UNITS = ["u2", "u0", "u1"]  # the plan's order, which is not the alphabet's


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Output:
    """An empty output of preprocess, on disk and on S3 in turn."""
    root = str(tmp_path / "out") if request.param == "local" else request.getfixturevalue("s3_root")
    return Output(root, Storage(), CONFIG, {"videos": "", "crops": ""})


def unit_tables(unit_id: str, rows: int = 3) -> dict[str, pa.Table]:
    return {
        "videos": tables.from_rows("videos", [video_row(unit_id, faces=rows)], CONFIG),
        "crops": tables.from_rows("crops", [crop_row(unit_id, i, i % 256) for i in range(rows)], CONFIG),
    }


def write_all(output: Output, units: list[str] = UNITS, rows: int = 3) -> None:
    for unit_id in reversed(units):
        output.write_unit(unit_id, unit_tables(unit_id, rows))


def join_all(output: Output, units: list[str] = UNITS) -> list[Part]:
    parts = output.list_parts("crops", units)
    for part in parts:
        output.join_part(part)
    return parts


def finish_all(output: Output, units: list[str] = UNITS) -> None:
    videos = output.read_units("videos", units)
    earlier = output.read_finished_videos()
    if earlier is not None:
        videos = pa.concat_tables([earlier, videos])
    output.finish(videos, join_all(output, units))


def digests(output: Output) -> dict[str, str]:
    return {
        info.path: hashlib.sha256(output.storage.read_bytes(info.uri)).hexdigest()
        for info in output.storage.list_files(output.root)
    }


def keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["video_id"].to_pylist(), table["frame_index"].to_pylist(), strict=True))


ROWS = [(unit_id, i) for unit_id in UNITS for i in range(3)]


def test_units_become_one_table_in_the_order_of_the_plan(output: Output) -> None:
    write_all(output)
    finish_all(output)
    assert keys(output.read_all("crops")) == ROWS
    finished = output.read_finished_videos()
    assert finished is not None and finished["video_id"].to_pylist() == UNITS
    assert sorted(digests(output)) == ["_manifest.parquet", "part-00000.parquet"]


def test_a_unit_is_finished_only_when_its_videos_are_written(output: Output) -> None:
    assert output.list_finished_units() == set()
    made = unit_tables("u0")
    output.write_unit("u0", {"crops": made["crops"]})
    assert output.list_finished_units() == set()
    output.write_unit("u0", made)
    output.write_unit("u1", unit_tables("u1"))
    assert output.list_finished_units() == {"u0", "u1"}


def test_writing_a_units_tables_ends_with_videos(tmp_path: Path) -> None:
    written = []

    class Recording(Storage):
        @contextmanager
        def writing(self, uri: str) -> Iterator[Path]:
            written.append(uri.split("/")[-2])
            with super().writing(uri) as path:
                yield path

    output = Output(str(tmp_path), Recording(), CONFIG, {"videos": "", "crops": ""})
    output.write_unit("u0", unit_tables("u0"))
    assert written == ["crops", "videos"]


def test_nothing_is_readable_before_the_job_has_finished(output: Output) -> None:
    output.claim({})
    write_all(output)
    join_all(output)
    assert output.read_finished_videos() is None
    with pytest.raises(UsageError, match="has not finished; run it again to go on"):
        list_part_files(output.root, output.storage)


def test_an_interrupted_join_done_again_gives_the_same_files(output: Output, monkeypatch) -> None:
    monkeypatch.setattr("deepfake.execution.output.PART_BYTES", 1)  # a part for each unit
    write_all(output)
    first, *_ = output.list_parts("crops", UNITS)
    output.join_part(first)
    before = digests(output)["part-00000.parquet"]
    finish_all(output)
    after = digests(output)
    assert sorted(after) == ["_manifest.parquet", *(f"part-0000{i}.parquet" for i in range(3))]
    assert after["part-00000.parquet"] == before
    assert keys(output.read_all("crops")) == ROWS


def test_the_same_units_give_the_same_bytes_whoever_wrote_them_first(tmp_path: Path) -> None:
    found = []
    for name, order in (("one", UNITS), ("two", sorted(UNITS))):
        output = Output(str(tmp_path / name), Storage(), CONFIG, {"videos": "", "crops": ""})
        for unit_id in order:
            output.write_unit(unit_id, unit_tables(unit_id))
        finish_all(output)
        found.append(digests(output))
    assert found[0] == found[1]


def test_parts_are_as_large_as_asked_and_hold_whole_units(output: Output, monkeypatch) -> None:
    write_all(output)
    size = max(info.size for info in output.storage.list_files(join(output.root, "_work/crops")))
    monkeypatch.setattr("deepfake.execution.output.PART_BYTES", 2 * size)
    parts = output.list_parts("crops", UNITS)
    assert [len(part.sources) for part in parts] == [2, 1]
    assert [output.join_part(part) for part in parts] == [6, 3]


def test_a_second_run_appends_its_parts_and_leaves_the_first_ones_alone(output: Output) -> None:
    write_all(output)
    finish_all(output)
    before = digests(output)["part-00000.parquet"]
    write_all(output, ["u9", "u8"])
    finish_all(output, ["u9", "u8"])
    after = digests(output)
    assert sorted(after) == ["_manifest.parquet", "part-00000.parquet", "part-00001.parquet"]
    assert after["part-00000.parquet"] == before
    assert keys(output.read_all("crops")) == ROWS + [(u, i) for u in ("u9", "u8") for i in range(3)]
    finished = output.read_finished_videos()
    assert finished is not None and finished.num_rows == 5


def test_while_a_second_run_works_readers_see_the_first_one_whole(output: Output) -> None:
    write_all(output)
    finish_all(output)
    write_all(output, ["u9"])
    join_all(output, ["u9"])
    assert keys(output.read_all("crops")) == ROWS
    write_all(output, ["u9", "u8"])
    finish_all(output, ["u9", "u8"])
    assert keys(output.read_all("crops")) == ROWS + [(u, i) for u in ("u9", "u8") for i in range(3)]


def test_parts_of_an_interrupted_run_that_was_larger_do_not_stay(output: Output, monkeypatch) -> None:
    monkeypatch.setattr("deepfake.execution.output.PART_BYTES", 1)
    write_all(output)
    join_all(output)  # and stopped here; then fewer videos are asked for
    output.storage.write_text(join(output.root, "notes.parquet"), "not ours")
    finish_all(output, UNITS[:1])
    assert sorted(digests(output)) == ["_manifest.parquet", "notes.parquet", "part-00000.parquet"]
    assert keys(output.read_all("crops")) == ROWS[:3]


def test_rows_of_some_videos_come_in_the_order_of_the_table(output: Output, monkeypatch) -> None:
    monkeypatch.setattr("deepfake.execution.output.PART_BYTES", 1)
    write_all(output, rows=100)  # more than a row group each, in three files
    finish_all(output)
    some = pa.array(["u1", "u2", "absent"])  # u0 is in a file of its own, of which no row group is wanted
    found = output.read_rows_of("crops", some, ["video_id", "frame_index"])
    assert found.column_names == ["video_id", "frame_index"]
    assert keys(found) == [(unit_id, i) for unit_id in ("u2", "u1") for i in range(100)]
    whole = tables.decode_strings("crops", output.read_all("crops"))
    assert whole.schema == tables.SCHEMAS["crops"]
    assert output.read_rows_of("crops", some) == whole.filter(pc.is_in(whole["video_id"], some))
    assert output.read_rows_of("crops", pa.array([], pa.string())).num_rows == 0


def test_a_run_without_any_face_ends_with_an_empty_table(output: Output) -> None:
    write_all(output, rows=0)
    finish_all(output)
    assert output.read_all("crops").num_rows == 0


def test_crops_are_stored_in_row_groups_of_64_across_units(output: Output) -> None:
    write_all(output, rows=50)
    finish_all(output)
    (uri,) = list_part_files(output.root, output.storage)
    with output.storage.open(uri) as file:
        metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [64, 64, 22]


def test_part_files_say_which_configuration_made_them(output: Output) -> None:
    write_all(output)
    finish_all(output)
    for name in ("part-00000.parquet", "_manifest.parquet"):
        with output.storage.open(join(output.root, name)) as file:
            assert pq.read_schema(file).metadata[b"deepfake.config_sha256"] == CONFIG.encode()


def test_tables_of_sub_folders_are_joined_each_in_its_own(tmp_path: Path) -> None:
    output = Output(str(tmp_path), Storage(), CONFIG, {"videos": "", "evidence": "evidence"})
    videos = unit_tables("u0")["videos"]
    output.write_unit("u0", {"videos": videos, "evidence": tables.from_rows("evidence", [], CONFIG)})
    parts = output.list_parts("evidence", ["u0"])
    for part in parts:
        output.join_part(part)
    output.finish(videos, parts)
    assert list_part_files(str(tmp_path), Storage(), "evidence") == [
        f"{tmp_path}/evidence/part-00000.parquet"
    ]


def test_a_folder_that_is_absent_or_holds_nothing_of_the_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent: no such folder"):
        list_part_files(str(tmp_path / "absent"), Storage())
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UsageError, match="no Parquet files there; is it the right folder"):
        list_part_files(str(tmp_path), Storage())


# Whose folder it is.

DESCRIPTION = {"input": "/archive", "bundle_sha256": "b1", "crop": {"size": 224}}


def test_a_claimed_folder_may_be_claimed_again_by_the_same_job(output: Output) -> None:
    output.claim(DESCRIPTION)
    output.claim(DESCRIPTION)
    found = json.loads(output.storage.read_text(join(output.root, "_config.json")))
    assert found.items() >= {**DESCRIPTION, "config_sha256": CONFIG}.items()


@pytest.mark.parametrize(
    ("config_sha256", "changed", "what"),
    [
        ("d" * 64, {}, "another configuration"),
        (CONFIG, {"input": "/elsewhere"}, "another input"),
        (CONFIG, {"bundle_sha256": "b2"}, "another bundle"),
    ],
)
def test_a_folder_with_rows_of_anything_else_is_refused_and_left_as_it_is(
    output: Output, config_sha256: str, changed: dict[str, Any], what: str
) -> None:
    output.claim(DESCRIPTION)
    before = digests(output)
    other = Output(output.root, output.storage, config_sha256, output.folders)
    with pytest.raises(UsageError, match=rf"holds rows of {what} .*give another --output"):
        other.claim({**DESCRIPTION, **changed})
    assert digests(output) == before


def test_a_damaged_record_of_the_configuration_is_refused_by_name(output: Output) -> None:
    output.storage.write_text(join(output.root, "_config.json"), "{")
    with pytest.raises(UsageError, match=r"_config\.json: not valid JSON"):
        output.claim(DESCRIPTION)


# Regrouping.


@given(st.lists(st.integers(0, 20), max_size=20), st.integers(1, 9))
def test_regrouping_keeps_every_row_in_order_and_only_the_last_table_is_short(
    lengths: list[int], rows: int
) -> None:
    numbers = iter(range(sum(lengths)))

    def source() -> Iterator[pa.Table]:
        for length in lengths:
            yield pa.table({"n": pa.array([next(numbers) for _ in range(length)], pa.int64())})

    found = list(regroup(source(), rows))
    assert [n for table in found for n in table["n"].to_pylist()] == list(range(sum(lengths)))
    assert all(table.num_rows % rows == 0 for table in found[:-1])
    assert all(table.num_rows for table in found)


def test_the_keys_that_differ_are_named_and_no_more_than_a_few() -> None:
    before = {"version": "1", "sampling": {"every_n": 30, "policy": "every_n"}, "crop": {"margin": 0.3}}
    now = {"version": "2", "sampling": {"every_n": 7, "policy": "every_n"}, "crop": {"margin": 0.15}}
    expected = ["sampling.every_n was 30, is 7", "crop.margin was 0.3, is 0.15"]
    assert describe_changes(before, now) == expected
    assert describe_changes(before, now, most=1) == [expected[0], "and 1 more"]
    assert describe_changes({}, now) == []
