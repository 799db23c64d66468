"""The rate of preprocessing, and of each of its stages, beside the naive loop and beside the decoding floor.

python jobs/benchmark.py --input A_FEW_CLIPS --output OUT/benchmark --detector.yunet_model YUNET.onnx
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake.__main__ import run_job  # noqa: E402

if __name__ == "__main__":
    sys.exit(run_job("benchmark", "jobs/benchmark.py", sys.argv[1:]))
