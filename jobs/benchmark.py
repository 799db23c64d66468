"""The rate of preprocessing, and of each of its stages, beside the naive loop and beside the decoding floor.

python jobs/benchmark.py --input A_FEW_CLIPS --output OUT/benchmark --detector.yunet_model YUNET.onnx
"""

import logging
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import BenchmarkJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: BenchmarkJobConfig) -> Outcome:
    from deepfake.pipelines.benchmark import pipeline  # here, so that --help is answered at once

    logging.getLogger("deepfake").setLevel(logging.WARNING)  # what a job that is measured says is no news
    logging.getLogger("deepfake.pipelines.benchmark").setLevel(logging.INFO)
    return pipeline.run(config)


if __name__ == "__main__":
    sys.exit(cli.run(BenchmarkJobConfig, job))
