"""What ``scoring.first_pass`` saves and what it costs, on labelled videos; says numbers, asserts nothing.

python -m tests.benchmarks.first_pass --bundle BUNDLE --input LABELLED [--first 4] [--margins 0.1 0.25 0.4]
    [--yunet FILE]
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile

from sklearn.metrics import roc_auc_score

from deepfake.config import RayConfig, ScoreJobConfig
from deepfake.execution import session
from deepfake.execution.output import Output
from deepfake.io.storage import Storage
from deepfake.pipelines.score import pipeline


def say(line: str) -> None:
    """One line at once, so that a slow step is seen."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def scored(options: argparse.Namespace, **settings: object) -> tuple[dict, dict[str, float], dict[str, int]]:
    """The job's summary, and score and label of each labelled video that has a score."""
    with tempfile.TemporaryDirectory() as output:
        config = ScoreJobConfig.model_validate(
            {
                "input": options.input,
                "bundle": options.bundle,
                "output": output,
                "scoring": settings,
                "report": {"pages": 0},
                **({"detector": {"name": "yunet", "yunet_model": options.yunet}} if options.yunet else {}),
            }
        )
        summary = pipeline.run(config).summary
        made = Output(output, Storage(), "", pipeline.FOLDERS)
        rows = made.read_all("video_scores").to_pylist()
    whole = [row for row in rows if row["score"] is not None and row["label"] is not None]
    return (
        summary,
        {row["video_id"]: row["score"] for row in whole},
        {row["video_id"]: row["label"] for row in whole},
    )


def main() -> None:
    """Score once whole, then by a first look with each margin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--first", type=int, default=4)
    parser.add_argument("--margins", type=float, nargs="+", default=[0.1, 0.25, 0.4])
    parser.add_argument("--yunet", default=None)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with session.open_session(RayConfig()):
        summary, scores, labels = scored(options)
        auc = roc_auc_score(list(labels.values()), [scores[name] for name in labels])
        say(f"whole: AUC {auc:.3f} on {len(labels)} videos, {summary['working_seconds']} s")
        for margin in options.margins:
            summary, scores, labels = scored(options, first_pass=options.first, first_pass_margin=margin)
            auc = roc_auc_score(list(labels.values()), [scores[name] for name in labels])
            settled, spared = summary["share_settled"], summary["share_of_frames_spared"]
            say(
                f"first {options.first}, margin {margin}: AUC {auc:.3f}, {summary['working_seconds']} s, "
                f"{settled:.0%} settled, {spared:.0%} of frames spared"
            )


if __name__ == "__main__":
    main()
