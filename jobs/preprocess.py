"""Videos to face crops.

python jobs/preprocess.py --input FF++ROOT --output OUT/crops --catalog.splits_dir SPLITS
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deepfake import cli  # noqa: E402
from deepfake.config import PreprocessJobConfig  # noqa: E402


def job(config: PreprocessJobConfig) -> cli.Outcome:
    """Run the job and say how it went."""
    from deepfake.pipelines.preprocess import pipeline  # here, so that --help is answered at once

    summary, sheets = pipeline.run(config)
    failed = summary.get("failed", 0) / max(1, summary["videos"])
    return cli.Outcome(summary, failed, sheets)


if __name__ == "__main__":
    sys.exit(cli.run(PreprocessJobConfig, job))
