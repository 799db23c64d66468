"""Bins of the score, and how far they are from the share of fakes in them."""

from __future__ import annotations

import pytest

from deepfake.metrics import make_reliability_bins


def test_an_edge_belongs_to_the_bin_above_and_one_to_the_last() -> None:
    bins = make_reliability_bins([0, 1, 0, 1], [0.0, 0.25, 0.5, 1.0], bins=4)
    assert [(b["lower"], b["upper"], b["n"]) for b in bins] == [
        (0.0, 0.25, 1),
        (0.25, 0.5, 1),
        (0.5, 0.75, 1),
        (0.75, 1.0, 1),
    ]


def test_a_bin_has_the_mean_of_its_scores_and_the_share_of_its_fakes() -> None:
    (only,) = make_reliability_bins([0, 1, 1, 1], [0.8, 0.9, 0.85, 0.85], bins=4)
    assert (only["n"], only["share_fake"]) == (4, 0.75)
    assert only["mean_score"] == pytest.approx(0.85)


def test_without_items_there_are_no_bins() -> None:
    assert make_reliability_bins([], []) == []
