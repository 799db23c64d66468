"""Decoded crops that are kept on disk: the pixels that were written, or none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake.training.data.pixel_cache import PixelCache, keep_pixels, plan_caches
from tests.running import ROOT

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from deepfake.training.data.pixel_cache import PixelCache
cache = PixelCache(Path(sys.argv[1]), "train", 3, 8, 10**9)
resource.setrlimit(resource.RLIMIT_FSIZE, (cache.slot + 100,) * 2)  # as a disk that is full then
for row in range(3):
    cache.write(row, np.full((8, 8, 3), 7, np.uint8))
print([row for row in range(3) if cache.has(row)])
"""


def picture(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_pictures_of_any_size_up_to_the_slot_come_back_in_any_process(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "train", 5, 12, 10**6)
    assert [cache.read(row) for row in range(6)] == [None] * 6 and not cache.has(4)
    cache.write(4, picture(12))
    cache.write(1, picture(8, 1)[:, ::-1])  # not contiguous
    cache.write(0, picture(13))  # larger than any that was announced
    again = pickle.loads(pickle.dumps(cache))
    for found in (cache, again, PixelCache(tmp_path, "train", 5, 12, 10**6)):
        np.testing.assert_array_equal(found.read(4), picture(12))
        np.testing.assert_array_equal(found.read(1), picture(8, 1)[:, ::-1])
        assert [found.has(row) for row in range(6)] == [False, True, False, False, True, False]
    mine = cache.read(4)
    assert mine is not None
    mine[:] = 0  # what augmentation does with it stays its own
    np.testing.assert_array_equal(cache.read(4), picture(12))


def test_a_picture_whose_size_was_not_written_any_more_does_not_count(tmp_path: Path) -> None:
    cache = PixelCache(tmp_path, "train", 2, 8, 10**6)
    cache.write(1, picture(8))
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[cache.slot : cache.slot + 4] = bytes(4)
    file.write_bytes(content)
    assert cache.read(1) is None and not cache.has(1)


def test_caches_keep_to_their_room_and_the_first_takes_it_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    slot = 4 + 3 * 100
    caches = plan_caches(tmp_path, 5 * slot / 1e9, {"train": (3, 10), "val": (9, 10)})
    assert [cache.rows for cache in caches.values()] == [3, 2]
    assert "3 of 3 of train, 2 of 9 of val" in caplog.text
    caches["val"].write(2, picture(10))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_ends_keeping_with_one_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0]\n"
    assert done.stderr.count("not kept any more") == 1


def test_where_no_folder_can_be_made_training_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "file" / "cache"))
    with keep_pixels(1.0, "abcdefgh") as folder:
        assert folder is None
    assert "decoded crops are not kept" in caplog.text
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    with keep_pixels(1.0, "abcdefgh") as folder:
        assert folder is not None and folder.parent == tmp_path / "cache"
    assert not folder.exists()
    with keep_pixels(0, "abcdefgh") as folder:
        assert folder is None
