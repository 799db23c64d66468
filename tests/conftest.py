"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPFAKE_TEST_DATA", ROOT.parent / "shared" / "data"))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# The same examples every time, and no deadline: machines of every speed run this.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``data`` skip where the real clips are absent."""
    if DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real clips at {DATA}; set DEEPFAKE_TEST_DATA to have this run")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips and faces; for tests marked ``data``."""
    return DATA


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One embedded Ray of two CPUs for the whole test session."""
    from deepfake.config import RayConfig
    from deepfake.engine import session

    with session(RayConfig(address=None, num_cpus=2, object_store_mb=256)):
        yield


@pytest.fixture(scope="session")
def ffpp_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a small data set in the FF++ layout, with its official-style ``splits/``; read only.

    6 originals and 6 fakes (each of the 4 methods) of 60 frames, 480x360, 30 fps; one person a split.
    """
    from deepfake.demo import make_dataset

    root = tmp_path_factory.mktemp("data") / "ffpp_small"
    return make_dataset(root, identities_per_person=2, fakes_per_identity=1, seconds=2.0, fps=30).root
