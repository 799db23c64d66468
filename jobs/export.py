"""A bundle's network for services and phones, compared with the bundle.

python jobs/export.py --bundle OUT/model --format onnx --input OUT/crops
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("export", "jobs/export.py", sys.argv[1:]))
