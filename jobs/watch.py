"""A file, a camera or a stream as it plays: running scores, an annotated video and a line a frame.

python jobs/watch.py --input VIDEO --bundle OUT/model --output OUT/watched
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("watch", "jobs/watch.py", sys.argv[1:]))
