"""Score every video of an archive with a model bundle.

python jobs/score.py --bundle OUT/model --input ARCHIVE --output OUT/scores
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli, scoring  # noqa: E402
from deepfake.config import ScoreJobConfig  # noqa: E402


def job(config: ScoreJobConfig) -> cli.Outcome:
    """Run the job and say how it went."""
    summary, look_at = scoring.run(config)
    return cli.Outcome(summary, summary.get("failed", 0) / max(1, summary["videos"]), look_at)


if __name__ == "__main__":
    sys.exit(cli.run(ScoreJobConfig, job))
