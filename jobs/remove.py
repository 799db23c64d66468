"""Some videos, or all of some people, taken out of a finished output of preprocess or score.

python jobs/remove.py --output OUT/crops --people youtube/071 --bundles OUT/model
python jobs/remove.py --output OUT/scores --videos folder/clip.mp4
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("remove", "jobs/remove.py", sys.argv[1:]))
