"""Every job in turn, on a small data set made on the spot from faces that installed packages carry.

python jobs/demo.py [--output demo_output]
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import DemoJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: DemoJobConfig) -> Outcome:
    from deepfake.pipelines.demo import pipeline  # here, so that --help is answered at once

    return pipeline.run(config)


if __name__ == "__main__":
    sys.exit(cli.run(DemoJobConfig, job))
