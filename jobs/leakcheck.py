"""What the splits of a data set share, and what gives its fakes away without looking at faces.

python jobs/leakcheck.py --input OUT/crops --output OUT/leakcheck --catalog.splits_dir SPLITS
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("leakcheck", "jobs/leakcheck.py", sys.argv[1:]))
