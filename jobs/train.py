"""Face crops to a model bundle, or several recipes side by side.

python jobs/train.py --input OUT/crops --output OUT/model --training.workers 2
python jobs/train.py --compare recipe:seed recipe:honest --input OUT/crops \\
    --output OUT/compare
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("train", "jobs/train.py", sys.argv[1:]))
