"""The rate of preprocessing, and of each of its stages, beside the naive loop and beside the decoding floor.

python jobs/benchmark.py --input A_FEW_CLIPS --output OUT/benchmark --detector.yunet_model YUNET.onnx
"""

import logging
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import BenchmarkJobConfig  # noqa: E402


def job(config: BenchmarkJobConfig) -> cli.Outcome:
    """Run the job and say how it went."""
    from deepfake.pipelines import benchmark  # here, so that --help is answered at once

    logging.getLogger("deepfake").setLevel(logging.WARNING)  # what a job that is measured says is no news
    logging.getLogger("deepfake.pipelines.benchmark").setLevel(logging.INFO)
    report = benchmark.run(config)
    if report.table:
        print(f"\n{report.table}")
    return cli.Outcome(report.summary, report.left_out_share, report.look_at)


if __name__ == "__main__":
    sys.exit(cli.run(BenchmarkJobConfig, job))
