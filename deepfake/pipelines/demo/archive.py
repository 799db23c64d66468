"""An archive to score, as a user might have one: unlabelled clips, a picture of nobody, a broken file."""

from __future__ import annotations

import shutil
from pathlib import Path

from deepfake.pipelines.demo import people
from deepfake.pipelines.demo.people import Footage

NO_FACE = Footage("rocket", "scikit-image", "skimage/data/rocket.jpg")


def make_archive(folder: Path, clips: list[Path]) -> int:
    """Copy clips to a folder under plain names and add the two odd ones; the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, clip in enumerate(sorted(clips), start=1):
        shutil.copyfile(clip, folder / f"clip_{number:02d}.mp4")
    shutil.copyfile(people.find(NO_FACE), folder / "rocket.jpg")
    (folder / "broken.mp4").write_text("This is a text file that somebody named .mp4.\n")
    return len(clips) + 2
