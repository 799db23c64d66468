"""What a budget on the command line means."""

from __future__ import annotations

import pytest

from deepfake.config import ScoreJobConfig
from deepfake.config.budget import Budget
from deepfake.config.parse import load_config
from deepfake.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", Budget(seconds=7200)),
        ("1.5 h", Budget(seconds=5400)),
        ("90m", Budget(seconds=5400)),
        ("500 videos", Budget(videos=500)),
        ("1 video", Budget(videos=1)),
    ],
)
def test_a_budget_is_a_time_or_a_number_of_videos(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected


@pytest.mark.parametrize("text", ["", "12", "0h", "2.5 videos", "soon", "-1h", "2 weeks"])
def test_anything_else_is_refused_before_the_job_begins(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        load_config(ScoreJobConfig, ["--input", "i", "--output", "o", "--bundle", "b", f"--budget={text}"])
