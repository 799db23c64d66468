"""A bundle's numbers on labelled crops.

python jobs/evaluate.py --bundle OUT/model --input OUT/crops --output OUT/evaluation --evaluation.split test
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import EvaluateJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: EvaluateJobConfig) -> Outcome:
    from deepfake.pipelines.evaluate import pipeline  # here, so that --help is answered at once

    return pipeline.run(config)


if __name__ == "__main__":
    sys.exit(cli.run(EvaluateJobConfig, job))
