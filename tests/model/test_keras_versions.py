"""A bundle in other versions of Keras than the one that saved it, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake.io.storage import Storage
from deepfake.model import keras_runtime
from tests import running, small_bundle
from tests.small_network import small_network

OLDEST = re.search(r'"keras>=([\d.]+)"', (running.ROOT / "pyproject.toml").read_text())
OPEN = """
import sys
import numpy as np
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle

try:
    network = Bundle.load(sys.argv[1], Storage()).network
    print(float(network(np.full((1, 224, 224, 3), 100, np.uint8)).numpy()[0, 0]))
except UsageError as error:
    print(error)
"""


def open_in(version: str, bundle: Path, folder: Path) -> str:
    """What a process with this Keras says of a bundle."""
    target = folder / f"keras-{version}"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        target,
        f"keras=={version}",
    ]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"keras {version} cannot be installed here: {done.stderr.strip()[-200:]}")
    environment = running.environment({"PYTHONPATH": f"{target}:{running.ROOT}"})
    words = [sys.executable, "-c", OPEN, str(bundle)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_a_bundle_opens_in_the_oldest_keras_that_is_allowed_and_is_refused_with_both_versions_in_an_older_one(
    tmp_path: Path,
) -> None:
    keras = keras_runtime.start_keras(seed=1)
    network = small_network(keras)
    versions = {"keras": keras.__version__}
    small_bundle.save_bundle(str(tmp_path / "bundle"), Storage(), network, threshold=0.5, versions=versions)
    assert OLDEST is not None
    oldest = f"{OLDEST[1]}.0"
    pixels = np.full((1, 224, 224, 3), 100, np.uint8)
    assert float(open_in(oldest, tmp_path / "bundle", tmp_path)) == pytest.approx(
        float(network(pixels)[0, 0])
    )
    said = open_in("3.14.1", tmp_path / "bundle", tmp_path)
    assert f"saved by Keras {keras.__version__}, this is Keras 3.14.1, which cannot read it" in said
    assert f"install keras>={keras.__version__}" in said and "\n" not in said
