"""Where this machine keeps what was downloaded or made once."""

import os
from pathlib import Path


def find_cache_folder() -> Path:
    """DEEPFAKE_CACHE, else ``deepfake`` in the user's cache folder."""
    if base := os.environ.get("DEEPFAKE_CACHE"):
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deepfake"
