"""Videos to face crops.

python jobs/preprocess.py --input FF++ROOT --output OUT/crops --catalog.splits_dir SPLITS
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("preprocess", "jobs/preprocess.py", sys.argv[1:]))
