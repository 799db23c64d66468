"""What makes no sense is refused in one sentence, secrets are not repeated, and markup stays text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.catalog.load import load_catalog
from deepfake.catalog.manifest import read_labels
from deepfake.config import CatalogConfig, PreprocessJobConfig, SamplingConfig, StorageConfig, TrainJobConfig
from deepfake.config.parse import load_config
from deepfake.crops import reader
from deepfake.crops.dataset import index_rows
from deepfake.errors import UsageError
from deepfake.io import lock, tables
from deepfake.io.parts import PARTS_KEY, list_part_files
from deepfake.io.run_record import RECORD_FILE, parse_section, read_record, write_record
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.model.bundle import BundleInfo, read_bundle_info
from deepfake.model.model_card import render_card
from deepfake.pipelines.leakcheck.uploads import read_conversion_dict
from deepfake.pipelines.remove import pipeline as removing
from deepfake.pipelines.score.case_report import read_case
from deepfake.video.credentials import read_trust_list
from tests.rows import crop_row, video_row


@pytest.mark.parametrize("text", ["[]", "null", "[" * 100_000, "7", "{"])
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD_FILE).write_text(text)
    with pytest.raises(UsageError, match=RECORD_FILE):
        read_record(str(tmp_path), Storage())
    (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(UsageError, match=r"bundle\.json"):
        read_bundle_info(str(tmp_path), Storage())


@pytest.mark.parametrize(
    "change", [{"input": 7}, {"config_sha256": []}, {"bundle": [7]}, {"bundle": None}, {"report": [1]}]
)
def test_a_record_whose_keys_are_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    write_record(str(tmp_path), Storage(), change)
    (name,) = change
    with pytest.raises(UsageError, match=rf"_config\.json: {name} is .*, expected"):
        read_record(str(tmp_path), Storage())


@pytest.mark.parametrize("text", ["[]", "7", '{"videos": 7}', '{"videos": [[]]}', "[" * 100_000, '{"x": []}'])
def test_a_mark_of_removing_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "_removing.json").write_text(text)
    with pytest.raises(UsageError, match=r"_removing\.json"):
        removing.read_mark(str(tmp_path / "_removing.json"), Storage())


READERS = {
    "configuration": lambda uri: load_config(PreprocessJobConfig, ["--config", uri], Storage().read_text),
    "case": lambda uri: read_case(uri, Storage()),
    "labels": lambda uri: read_labels(uri, Storage()),
    "trust list": lambda uri: read_trust_list(uri, Storage()),
    "uploads": lambda uri: read_conversion_dict(uri, Storage()),
    "bundle": lambda uri: read_bundle_info(str(Path(uri).parent), Storage()),
}
NO_TEXT = {
    "deep": b"[" * 100_000, "zeros": b"\0\0", "bytes": b"\xff\xfe\xfa", "nothing": b"",
    "a number": b"9" * 10_000,
    "no number": b"a: !!int x", "no date": b"limit: 2001-99-99", "no bits": b"limit: 0b_",
    "no truth": b"a: !!bool x", "no time": b"a: !!timestamp x",
    "digits": b'{"format": ' + b"9" * 10_000 + b"}",
    "an open quote": b'video_id,label\n"a,real\n', "more columns": b"video_id,label\na,real,b\n",
    "a long line": b"video_id,label\n" + b"x" * 2 * 10**7 + b",real\n",
    "no text": b"video_id,label\n\xff,real\n", "many columns": b",".join([b"column"] * 10_000) + b"\n1\n",
    "a pickle": b"\x80\x04cos\nsystem\n(S'false'\ntR.", "large": b"# comment\n" * 500_000,
}  # fmt: skip


@pytest.fixture
def not_texts(tmp_path: Path) -> Iterator[Path]:
    """Places where a file of text is expected, each of them called ``bundle.json``."""
    for name, content in NO_TEXT.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "bundle.json").write_bytes(content)
    for name in ("pipe", "endless", "folder", "sparse"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "bundle.json")
    (tmp_path / "endless" / "bundle.json").symlink_to("/dev/zero")
    (tmp_path / "folder" / "bundle.json").mkdir()
    with (tmp_path / "sparse" / "bundle.json").open("wb") as file:
        file.truncate(10 * 2**30)
    yield tmp_path


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_text_is_refused_in_one_sentence_by_all_that_read_text(
    reader: str, not_texts: Path
) -> None:
    accepted = {"configuration": {"nothing"}, "case": {"nothing"}}.get(reader, set())
    for folder in not_texts.iterdir():
        if folder.name in accepted:
            continue
        with pytest.raises(UsageError) as raised:
            READERS[reader](str(folder / "bundle.json"))
        assert str(folder) in str(raised.value) or reader == "configuration", folder.name
        assert len(str(raised.value)) < 2000


def test_a_section_of_a_record_that_makes_no_sense_is_refused_without_repeating_all_of_it() -> None:
    with pytest.raises(UsageError, match=r"sampling\.every_n is") as raised:
        parse_section({"sampling": {"every_n": "x" * 10**7}}, "sampling", SamplingConfig)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "listed", [b"[]", b'{"crops": ["../../secret.parquet"]}', b'{"crops": 7}', b"[" * 9999]
)
def test_a_list_of_files_that_leads_elsewhere_is_refused(tmp_path: Path, listed: bytes) -> None:
    table = tables.from_rows("videos", [video_row("a.mp4")])
    pq.write_table(table.replace_schema_metadata({PARTS_KEY: listed}), tmp_path / "_manifest.parquet")
    with pytest.raises(UsageError, match="its list of files makes no sense"):
        list_part_files(str(tmp_path), Storage())


def raw_text(data: bytes) -> pa.Array:
    """Bytes as a text column, whatever they are."""
    offsets = pa.array([0, len(data)], pa.int32()).buffers()[1]
    return pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)])


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("label", pa.array([7], pa.int8()), "label 7, expected 0"),
        ("video_id", raw_text(b"\xff\xfe"), "'video_id' holds bytes that are no UTF-8"),
        ("video_id", pa.array(["x" * 10**6]), "'video_id' holds a name of more than 65536 bytes"),
    ],
)
def test_rows_that_cannot_be_are_refused(tmp_path: Path, name: str, values: pa.Array, words: str) -> None:
    table = tables.from_rows("videos", [video_row("a.mp4")])
    place = table.schema.get_field_index(name)
    pq.write_table(table.set_column(place, table.schema.field(place), values), tmp_path / "t.parquet")
    with pytest.raises(TableError, match=re.escape(words)):
        tables.read_table(Storage(), str(tmp_path / "t.parquet"), "videos")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("frame_index", None, "column 'frame_index' has rows of nothing"),
        ("detector", None, "column 'detector' has rows of nothing"),
        ("frame_index", -1, "'frame_index' holds -1, expected a number from 0 on"),
        ("frame_height", -5, "'frame_height' holds -5, expected a number from 0 on"),
        ("time_s", float("nan"), "'time_s' holds what is no number"),
        ("time_s", float("inf"), "'time_s' holds inf"),
        ("label", 7, "label 7, expected 0"),
    ],
)
def test_whoever_reads_faces_refuses_those_that_cannot_be(
    tmp_path: Path, name: str, value: Any, words: str
) -> None:
    rows = tables.from_rows("crops", [crop_row("a.mp4", 0, 0)])
    place, kind = rows.schema.get_field_index(name), rows.schema.field(name).type
    uri = str(tmp_path / "c.parquet")
    pq.write_table(rows.set_column(place, pa.field(name, kind), pa.array([value], kind)), uri)

    def read_batches() -> None:
        with tables.open_table(Storage(), uri, "crops") as file:
            list(file.iter_batches())

    for read in (
        lambda: tables.read_table(Storage(), uri, "crops"),
        lambda: tables.read_encoded(Storage(), uri, "crops"),
        lambda: list(tables.read_rows_of_videos(Storage(), uri, "crops", pa.array(["a.mp4"]))),
        lambda: list(reader.read_rows(uri, {0: [0]}, Storage())),
        lambda: index_rows([uri], "crops", ["video_id", name], Storage()),
        read_batches,
    ):
        with pytest.raises(TableError, match=re.escape(words)):
            read()


def test_a_manifest_with_a_name_of_megabytes_is_refused_by_its_row(tmp_path: Path) -> None:
    for name in ("path", "video_id", "method", "target_id"):
        rows = {"path": ["a.mp4", "b.mp4"], "video_id": ["a", "b"], name: ["a", "x" * 10**7]}
        pq.write_table(pa.table(rows), tmp_path / "m.parquet")
        with pytest.raises(UsageError, match=f"row 2: a {name} of more than 4096 letters"):
            load_catalog(str(tmp_path / "m.parquet"), CatalogConfig(), Storage())


@pytest.mark.slow(6)
def test_yaml_that_stands_for_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
    )
    for text in (bomb, "[" * 20_000, "input: " + "x" * 10**7 + "\nlimit: no number" + "y" * 10**7):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(UsageError) as raised:
            load_config(PreprocessJobConfig, ["--config", str(tmp_path / "c.yaml")])
        assert len(str(raised.value)) < 2000


SECRETS = ("http://somebody:hunter2@host:9000", "s3://somebody:hunter2@bucket/archive")


@pytest.mark.parametrize("where", ["endpoint", "tracker", "input", "manifest"])
def test_an_address_with_a_password_is_refused_and_not_repeated(tmp_path: Path, where: str) -> None:
    http, s3 = SECRETS
    with pytest.raises(UsageError, match="credentials come from the environment") as raised:
        if where == "endpoint":
            load_config(
                PreprocessJobConfig, ["--input", "a", "--output", "b", "--storage.endpoint_url", http]
            )
        elif where == "tracker":
            load_config(TrainJobConfig, ["--input", "a", "--output", "b", "--tracking.mlflow", http])
        elif where == "input":
            load_catalog(s3, CatalogConfig(), Storage())
        else:
            (tmp_path / "m.csv").write_text(f"path\na.mp4\n{s3}/a.mp4\n")
            load_catalog(str(tmp_path / "m.csv"), CatalogConfig(), Storage())
    assert "hunter2" not in str(raised.value) and "somebody" not in str(raised.value)


NO_ENDPOINTS = (
    "http://host:9000/?X-Amz-Signature=hunter2", "http://host:9000/#hunter2", "hunter2", "http://",
    "http://[::hunter2", "http://hun ter2:9", "file:///hunter2", "http://hunter2:999999", "http://-hunter2-:9",
    SECRETS[0],
)  # fmt: skip


@pytest.mark.parametrize("address", NO_ENDPOINTS)
def test_an_endpoint_that_is_none_is_refused_and_not_repeated(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(UsageError, match=r"^AWS_ENDPOINT_URL: ") as raised:
        Storage().exists("s3://bucket/file")
    assert "hunter2" not in str(raised.value)
    with pytest.raises(UsageError, match=r"storage\.endpoint_url") as raised:
        load_config(PreprocessJobConfig, ["--input", "a", "--output", "b", "--storage.endpoint_url", address])
    assert "X-Amz-Signature=" not in address or "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9000", "https://s3.example.org", "http://[::1]:9", "http://minio:9000/s3/"]
)
def test_an_endpoint_of_any_server_is_one(address: str) -> None:
    assert StorageConfig(endpoint_url=address).endpoint_url == address


TEXTS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''+", "plain", "'quoted'", "a=b", "", "-"]


def test_no_text_of_a_csv_file_is_a_formula_and_pandas_reads_it_back(tmp_path: Path) -> None:
    rows = pa.table({"name": pa.array(TEXTS), "number": pa.array([-1.0] * len(TEXTS))})
    tables.write_csv(Storage(), str(tmp_path / "t.csv"), rows)
    read = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, lineterminator="\n")
    assert not read["name"].str.match(r"[=+\-@\t\r]").any()
    assert (read["number"] == -1.0).all()
    back = read["name"].str.replace(r"^'(?='*[=+\-@\t\r\n])", "", regex=True)  # the rule in docs/formats.md
    assert back.tolist() == TEXTS


def test_what_others_wrote_is_no_markup_in_a_model_card() -> None:
    evil = "<script>alert(1)</script> [x](http://evil) | ![i](http://evil)\n# big"
    info = BundleInfo(
        model_sha256="0" * 64, threshold=0.5, threshold_rule=evil, versions={"keras": evil},
        training={"crops": {"train_fake_methods": {evil: 3}}, "config": {"model": {"weights": evil}}},
    )  # fmt: skip
    card = render_card(info)
    assert "<script>" not in card.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(http", card) and "\n# big" not in card


def test_what_a_killed_job_was_writing_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / "_work" / "crops" / ".0123456789abcdef.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a table")
    kept = left.with_name("my.tmp")
    kept.touch()
    dead: dict[str, Any] = {"owner": "x", "host": "elsewhere", "pid": 1}
    (tmp_path / lock.FILE).write_text(str(dead).replace("'", '"'))
    with lock.hold(str(tmp_path), Storage(), pause=lambda _: None):
        assert not left.exists() and kept.exists()
