"""A bundle's numbers on labelled crops.

python jobs/evaluate.py --bundle OUT/model --input OUT/crops --output OUT/evaluation --evaluation.split test
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import EvaluateJobConfig  # noqa: E402


def job(config: EvaluateJobConfig) -> cli.Outcome:
    """Run the job and say how it went."""
    from deepfake.pipelines.evaluate import pipeline as evaluate  # here, so that --help is answered at once

    summary, look_at = evaluate.run(config)
    return cli.Outcome(summary, look_at=look_at)


if __name__ == "__main__":
    sys.exit(cli.run(EvaluateJobConfig, job))
