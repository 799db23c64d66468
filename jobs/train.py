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


def job(config: TrainJobConfig) -> cli.Outcome:
    """Train, or compare."""
    from deepfake.pipelines.train import compare, pipeline  # here, so that --help is answered at once

    if not config.compare:
        return pipeline.train(config)
    outcome, table = compare.run(config, sys.argv[1:])
    print(f"\n{table}")
    return outcome


if __name__ == "__main__":
    sys.exit(cli.run(TrainJobConfig, job))
