"""Face crops to a model bundle.

python jobs/train.py --input OUT/crops --output OUT/model --training.workers 2
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli, training  # noqa: E402
from deepfake.config import TrainJobConfig  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.run(TrainJobConfig, training.train))
