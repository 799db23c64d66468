"""Verdicts made again from a finished output's face scores, under another rule.

python jobs/verdicts.py --input OUT/scores --output OUT/scores_strict --scoring.operating_point fpr_0.01
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("verdicts", "jobs/verdicts.py", sys.argv[1:]))
