"""Videos written again as uploads are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

from deepfake.config import SamplingConfig
from deepfake.video.decoder import open_local
from deepfake.video.errors import VideoError
from deepfake.video.transcoding import recompress
from tests.clips import write_clip
from tests.running import ROOT


def compressed(clip: Path, crf: int) -> Path:
    target = clip.with_name(f"{crf}.mp4")
    with open_local(clip, SamplingConfig()) as source:
        recompress(source, target, crf)
    return target


def test_a_higher_crf_makes_a_smaller_file_of_as_many_frames(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=20)
    sizes = {}
    for crf in (18, 40):
        target = compressed(clip, crf)
        with av.open(str(target)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 20
        sizes[crf] = target.stat().st_size
    assert sizes[40] < sizes[18]


COMPRESS = """
import os, sys
from pathlib import Path
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:int(sys.argv[2])])
from tests.video.test_transcoding import compressed
print(compressed(Path(sys.argv[1]), 23).read_bytes().hex())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fills memory, and takes cores away, as Linux can")
def test_the_copy_is_the_same_whatever_lay_in_memory_and_however_many_cores_there_are(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=60, size=(480, 360))
    found = set()
    for filled_with, cores in (("85", "8"), ("170", "8"), ("1", "1")):
        environment = {**os.environ, "MALLOC_PERTURB_": filled_with}
        words = [sys.executable, "-c", COMPRESS, str(clip), cores]
        found.add(subprocess.run(words, env=environment, cwd=ROOT, check=True, capture_output=True).stdout)
    assert len(found) == 1 and len(found.pop()) > 10_000


def test_a_picture_turned_by_its_container_is_written_as_it_is_shown(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3, rotation=90)
    sizes = []
    for path in (clip, compressed(clip, 23)):
        with open_local(path, SamplingConfig(every_n=1)) as video:
            sizes.append(next(video.sample()).size)
    assert sizes[0] == sizes[1] and sizes[0][0] > sizes[0][1]


def test_a_file_without_a_frame_is_an_error_in_words(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    start, whole = clip.read_bytes().index(b"mdat") + 4, clip.read_bytes()
    stop = whole.index(b"moov") - 4
    clip.write_bytes(whole[:start] + bytes(stop - start) + whole[stop:])
    with pytest.raises(VideoError):
        compressed(clip, 23)
