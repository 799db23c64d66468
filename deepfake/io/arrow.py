"""Arrow, started without pandas."""

import sys
from importlib.abc import MetaPathFinder
from typing import Any

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    """As if pandas were not installed."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def start_arrow() -> None:
    """Make Arrow's first array, with which it looks for pandas: here it has no use for it, and 0.3 s to lose.

    What needs pandas later has it, Arrow's own conversions too. Arrow also reserves its address space now.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)
