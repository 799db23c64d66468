"""Score every video of an archive with a model bundle.

python jobs/score.py --bundle OUT/model --input ARCHIVE --output OUT/scores
python jobs/score.py --verify OUT/scores --sample 20
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import ScoreJobConfig, VerifyJobConfig  # noqa: E402


def job(config: ScoreJobConfig) -> cli.Outcome:
    """Run the job and say how it went."""
    from deepfake.pipelines.score import pipeline  # here, so that --help is answered at once

    summary, look_at = pipeline.run(config)
    return cli.Outcome(summary, summary.get("failed", 0) / max(1, summary["videos"]), look_at)


def verify(config: VerifyJobConfig) -> cli.Outcome:
    """Score some videos of a finished output again and say what differs."""
    from deepfake.pipelines.score import verify as verification

    if config.dry_run:
        return cli.Outcome({"verified": config.verify, "sample": config.sample})
    summary, problem = verification.run(config)
    return cli.Outcome(summary, problem=problem)


if __name__ == "__main__":
    if any(argument.partition("=")[0] == "--verify" for argument in sys.argv[1:]):
        sys.exit(cli.run(VerifyJobConfig, verify))
    sys.exit(cli.run(ScoreJobConfig, job))
