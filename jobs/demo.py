"""Every job in turn, on a small data set made on the spot from faces that installed packages carry.

python jobs/demo.py [--output demo_output]
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("demo", "jobs/demo.py", sys.argv[1:]))
