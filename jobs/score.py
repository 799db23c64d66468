"""Score every video of an archive with a model bundle.

python jobs/score.py --bundle OUT/model --input ARCHIVE --output OUT/scores
python jobs/score.py --verify OUT/scores --sample 20
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("score", "jobs/score.py", sys.argv[1:]))
