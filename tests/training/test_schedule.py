"""Phases and learning rates: what learns when, and how fast."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deepfake.config import TrainingConfig
from deepfake.training.schedule import compute_learning_rate, plan_phases


def settings(**values: Any) -> TrainingConfig:
    return TrainingConfig(**values)


@given(st.integers(1, 30), st.integers(0, 30), st.sampled_from(["none", "top", "all"]))
def test_the_phases_fill_the_epochs_and_end_with_fine_tuning_where_there_is_any(
    epochs: int, head: int, tune: Any
) -> None:
    found = plan_phases(settings(epochs=epochs, head_epochs=head, fine_tune=tune))
    assert sum(phase.epochs for phase in found) == epochs
    assert all(phase.epochs > 0 for phase in found)
    assert found[-1].trains == ("head" if tune == "none" else tune)
    assert len(found) == (2 if tune != "none" and min(head, epochs - 1) > 0 else 1)


def test_each_phase_has_its_rate() -> None:
    head, tuned = plan_phases(settings(head_learning_rate=0.5, learning_rate=0.25))
    assert (head.learning_rate, tuned.learning_rate) == (0.5, 0.25)
    (only,) = plan_phases(settings(head_learning_rate=0.5, learning_rate=0.25, fine_tune="none"))
    assert only.learning_rate == 0.5


def test_a_cosine_rises_through_the_warm_up_and_falls_to_the_lowest_rate() -> None:
    s = settings(epochs=5, head_epochs=1, learning_rate=1.0, min_learning_rate=0.01, warmup_epochs=0.5)
    tuned = plan_phases(s)[1]
    rates = [compute_learning_rate(s, tuned, step, 10) or 0.0 for step in range(tuned.epochs * 10)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0 and rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[5 + 35 // 2] == pytest.approx((1.0 + 0.01) / 2, rel=0.1)
    assert 0.01 < rates[-1] < 0.02
    assert compute_learning_rate(s, tuned, 10**6, 10) == pytest.approx(0.01)


def test_on_a_plateau_the_rate_is_left_to_the_callback_after_the_warm_up() -> None:
    s = settings(schedule="plateau", warmup_epochs=1, learning_rate=0.5)
    tuned = plan_phases(s)[1]
    assert [compute_learning_rate(s, tuned, step, 2) for step in range(4)] == [0.25, 0.5, 0.5, None]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"jit_compile": True, "workers": 2}, "jit_compile works with one worker only"),
        ({"workers": [2, 8]}, r"workers \[2, 8\] needs training.threads_per_worker"),
        ({"workers": [8, 2], "use_gpu": True}, "the least comes first"),
    ],
)
def test_options_that_exclude_each_other_are_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(**wrong)
