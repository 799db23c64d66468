"""Catalogs from empty files: nothing in the catalog opens a video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deepfake.catalog.load import load_catalog
from deepfake.config import CatalogConfig
from deepfake.io.storage import Storage

Load = Callable[..., pa.Table]
MakeTree = Callable[..., Path]


@pytest.fixture
def load() -> Load:
    """``load(uri, **catalog options)``."""

    def call(uri: Path | str, **options: Any) -> pa.Table:
        return load_catalog(str(uri), CatalogConfig(**options), Storage())

    return call


@pytest.fixture
def tree(tmp_path: Path) -> MakeTree:
    """``tree(path, ...)`` makes empty files below a folder named ``archive`` and returns the folder."""

    def make(*paths: str) -> Path:
        root = tmp_path / "archive"
        root.mkdir(exist_ok=True)
        for path in paths:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return root

    return make
