"""The published detectors that ours are measured beside: the weights fit, and face the right way."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.benchmarks import mesonet


@pytest.mark.data
@pytest.mark.parametrize("name", ["Meso4_DF", "MesoInception_DF"])
def test_published_weights_fit_the_network_as_described(data: Path, name: str) -> None:
    score = mesonet.load(data / "models" / "mesonet" / f"{name}.h5")
    faces = sorted((data / "faces" / "val" / "real").iterdir())[:4]
    pictures = [cv2.resize(cv2.imread(str(path))[:, :, ::-1], (224, 224)) for path in faces]
    scores = score(np.stack(pictures))
    assert scores.shape == (4,) and scores.std() > 0
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.data
def test_weights_of_the_other_network_are_refused(data: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "MesoInception_of_another.h5"
    wrong.write_bytes((data / "models" / "mesonet" / "Meso4_DF.h5").read_bytes())
    with pytest.raises(ValueError, match="layers of Conv2D"):
        mesonet.load(wrong)
