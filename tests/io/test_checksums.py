"""The file that pins a finished output."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deepfake.io import checksums
from deepfake.io.storage import Storage


def test_sha256sum_accepts_the_file_until_a_byte_changes(tmp_path: Path) -> None:
    for name in ("_config.json", "_manifest.parquet", "video_scores/part-00000.parquet", "report.html"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    checksums.write_checksums(str(tmp_path), Storage())
    first = (tmp_path / checksums.FILE).read_text()
    assert len(first.splitlines()) == 3
    assert "_manifest" not in first
    command = ["sha256sum", "--check", "--strict", checksums.FILE]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    checksums.write_checksums(str(tmp_path), Storage())
    assert (tmp_path / checksums.FILE).read_text() == first
    (tmp_path / "report.html").write_text("other")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode != 0
