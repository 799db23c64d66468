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
    if config.compare:  # imported here, so that --help is answered at once
        from deepfake.pipelines.train.compare import run
    else:
        from deepfake.pipelines.train.pipeline import run
    return run(config)


if __name__ == "__main__":
    sys.exit(cli.run(TrainJobConfig, job))
