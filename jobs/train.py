"""Face crops to a model bundle, or several recipes side by side.

python jobs/train.py --input OUT/crops --output OUT/model --training.workers 2
python jobs/train.py --compare configs/recipes/seed.yaml configs/recipes/honest.yaml --input OUT/crops \\
    --output OUT/compare
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import TrainJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: TrainJobConfig) -> Outcome:
    from deepfake.pipelines.train import compare, pipeline  # here, so that --help is answered at once

    return compare.run(config) if config.compare else pipeline.run(config)


if __name__ == "__main__":
    sys.exit(cli.run(TrainJobConfig, job))
