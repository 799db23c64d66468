"""A detector that was made elsewhere, from ONNX or Keras, to a bundle.

python jobs/adopt.py --input detector.onnx --output OUT/adopted --foreign.values unit --foreign.fake 1
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("adopt", "jobs/adopt.py", sys.argv[1:]))
