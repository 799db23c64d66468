"""Whose fault it is that a file cannot be read: the node's, or the file's."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import get_extractor
from deepfake.errors import NodeFault
from deepfake.execution import nodes
from deepfake.execution.unit_worker import require_readable
from deepfake.io.storage import Storage

CONFIG = ExtractConfig(SamplingConfig(isolate=False), DetectorConfig(name="haar"), CropConfig())


@pytest.fixture
def on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "on_cluster", lambda: True)
    monkeypatch.setattr(nodes, "accepts_failures", lambda unit_id: False)


def look_at(path: Path) -> dict[str, object]:
    """The row of one file."""
    entry = {"video_id": path.name, "uri": str(path), "label": None}
    return get_extractor(CONFIG, Storage()).extract(entry).video


@pytest.mark.usefixtures("on_a_cluster")
def test_files_that_are_no_videos_are_no_node_s_fault(tmp_path: Path) -> None:
    rows = []
    for name, content in {"empty.mp4": b"", "text.mp4": b"no video at all"}.items():
        (tmp_path / name).write_bytes(content)
        rows.append(look_at(tmp_path / name))
    assert [row["status"] for row in rows] == ["unreadable"] * 2
    require_readable("unit", rows, Storage())


@pytest.mark.usefixtures("on_a_cluster")
def test_a_file_that_is_not_there_may_be(tmp_path: Path) -> None:
    row = look_at(tmp_path / "gone.mp4")
    with pytest.raises(NodeFault, match=r"it cannot read .*gone\.mp4 .* which this job can") as raised:
        require_readable("unit", [row], Storage())
    assert raised.value.unseen
    assert raised.value.unreadable == (("gone.mp4", str(tmp_path / "gone.mp4")),)
