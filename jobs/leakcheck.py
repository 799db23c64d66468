"""What the splits of a data set share, and what gives its fakes away without looking at faces.

python jobs/leakcheck.py --input OUT/crops --output OUT/leakcheck --catalog.splits_dir SPLITS
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import LeakcheckJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: LeakcheckJobConfig) -> Outcome:
    from deepfake.pipelines.leakcheck import pipeline  # here, so that --help is answered at once

    return pipeline.run(config)


if __name__ == "__main__":
    sys.exit(cli.run(LeakcheckJobConfig, job))
