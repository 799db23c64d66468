"""How modules are imported: without a look for garbage meanwhile, and without others that are not wanted."""

import gc
import os
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import deepfake

CODE = str(Path(deepfake.__file__).resolve().parent.parent)


def list_import_path() -> list[str]:
    """Where a process of ours looks for modules before Python's own places; never the working directory.

    So it runs the code of its parent, whatever is installed or lies where it starts.
    """
    found = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    return found if CODE in site.getsitepackages() else [CODE, *(place for place in found if place != CODE)]


@contextmanager
def import_for_good() -> Iterator[None]:
    """Look for no garbage among what the block imports, for it stays: not meanwhile, nor ever after.

    Meanwhile is a seventh of the time of large imports; after TensorFlow's, each look takes 0.3 s.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def hide_modules(*names: str) -> Iterator[None]:
    """While this lasts, importing the modules raises ``ImportError``, as if they were not installed."""
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
