"""Jobs that read from S3 and write to it, run as a user runs them, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from tests import running
from tests.conftest import S3Server
from tests.running import ROOT
from tests.secret_scan import files_with


def preprocess(
    source: str, output: str, environment: dict[str, str], *argv: str
) -> subprocess.CompletedProcess[str]:
    command = running.command(
        "preprocess", "--input", source, "--output", output, "--catalog.splits_dir", join(source, "splits"),
        "--detector.name", "haar", "--ray.num_cpus", "2", *argv,
    )  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=kept | environment)


def rows(output: str, name: str) -> list[dict[str, object]]:
    """Rows of a job's output, without the columns that may differ between two places."""
    storage = Storage()
    uris = list_part_files(output, storage) if name == "crops" else [join(output, "_manifest.parquet")]
    table = pa.concat_tables([tables.read_table(storage, uri, name) for uri in uris])
    places = ("uri", "modified")
    kept = [name for name in table.column_names if name not in places and not name.endswith("_seconds")]
    return table.select(kept).to_pylist()


@pytest.mark.slow
def test_preprocess_from_s3_to_s3_gives_the_rows_of_a_local_run(
    ffpp_small: Path, s3_root: str, s3_server: S3Server, tmp_path: Path
) -> None:
    storage = Storage()
    storage.upload_folder(ffpp_small, join(s3_root, "archive"))
    local, remote = str(tmp_path / "crops"), join(s3_root, "crops")
    with tempfile.TemporaryDirectory(prefix="ray") as ray_logs:  # a short name: sockets lie in it
        places = ((str(ffpp_small), local, "never"), (join(s3_root, "archive"), remote, "always"))
        for source, output, start in places:
            environment = s3_server.environment | {"RAY_TMPDIR": ray_logs}
            done = preprocess(source, output, environment, "--ray.start", start)
            assert done.returncode == 0, done.stderr
        written = tmp_path / "written"
        storage.download_folder(remote, written)
        assert list(Path(ray_logs).rglob("raylet.out")) and list(written.glob("*.parquet"))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            secret = s3_server.environment[name]
            assert files_with(secret, [written, Path(local), Path(ray_logs)]) == []
            assert secret not in done.stdout + done.stderr
    crops = rows(local, "crops")
    assert len(crops) > 12
    assert rows(remote, "crops") == crops
    assert rows(remote, "videos") == rows(local, "videos")
    assert [info.path for info in storage.list_files(remote)] == [
        info.path for info in storage.list_files(local)
    ]
    summary = json.loads(storage.read_text(join(remote, "_summary.json")))
    assert (summary["videos"], summary["faces"], summary["exit_status"]) == (12, len(crops), 0)
    with storage.open(list_part_files(remote, storage)[0]) as file:
        assert pq.read_schema(file).metadata[b"deepfake.table"] == b"crops"


def test_output_that_may_not_be_written_answers_2_before_any_work(
    ffpp_small: Path, s3_root: str, s3_server: S3Server
) -> None:
    done = preprocess(str(ffpp_small), join(s3_root, "crops"), s3_server.reader)
    assert done.returncode == 2, done.stderr
    assert "access denied; these credentials lack a permission on bucket 'archive'" in done.stderr
    assert "Traceback" not in done.stderr and "Ray on" not in done.stderr
    assert "botocore" not in done.stderr


def test_a_bucket_that_does_not_exist_answers_2_and_is_named(s3_server: S3Server, tmp_path: Path) -> None:
    done = preprocess("s3://nowhere/archive", str(tmp_path / "out"), s3_server.environment)
    assert done.returncode == 2
    assert "there is no bucket 'nowhere'; make it first, or mend its name" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_scan_finds_a_secret_in_a_log_and_packed_in_a_table(tmp_path: Path) -> None:
    secret = "wJalrXUtnFEMI"
    (tmp_path / "quiet.log").write_text("nothing")
    (tmp_path / "loud.log").write_text(f"key={secret}")
    packed = pa.table({"note": [secret * 20] * 2})
    pq.write_table(packed, tmp_path / "rows.parquet", compression="zstd")
    assert [path.name for path in files_with(secret, [tmp_path])] == ["loud.log", "rows.parquet"]
