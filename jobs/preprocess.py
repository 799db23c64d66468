"""Videos to face crops.

python jobs/preprocess.py --input FF++ROOT --output OUT/crops --catalog.splits_dir SPLITS
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import PreprocessJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: PreprocessJobConfig) -> Outcome:
    from deepfake.pipelines.preprocess import pipeline  # here, so that --help is answered at once

    return pipeline.run(config)


if __name__ == "__main__":
    sys.exit(cli.run(PreprocessJobConfig, job))
