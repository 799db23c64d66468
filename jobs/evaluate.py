"""A bundle's numbers on labelled crops.

python jobs/evaluate.py --bundle OUT/model --input OUT/crops --output OUT/evaluation --evaluation.split test
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("evaluate", "jobs/evaluate.py", sys.argv[1:]))
