"""Score every video of an archive with a model bundle.

python jobs/score.py --bundle OUT/model --input ARCHIVE --output OUT/scores
python jobs/score.py --verify OUT/scores --sample 20
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import ScoreJobConfig, VerifyJobConfig  # noqa: E402
from deepfake.outcome import Outcome  # noqa: E402


def job(config: ScoreJobConfig) -> Outcome:
    from deepfake.pipelines.score import pipeline  # here, so that --help is answered at once

    return pipeline.run(config)


def verify(config: VerifyJobConfig) -> Outcome:
    from deepfake.pipelines.score import verify

    return verify.run(config)


if __name__ == "__main__":
    if any(argument.partition("=")[0] == "--verify" for argument in sys.argv[1:]):
        sys.exit(cli.run(VerifyJobConfig, verify))
    sys.exit(cli.run(ScoreJobConfig, job))
