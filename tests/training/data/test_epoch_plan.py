"""Which crops an epoch shows: balanced, seeded, and the same for any number of workers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.crops.dataset import Rows
from deepfake.training.data.balancing import MOST_REPEATS, CropKind, Selection, divide_evenly, select_crops
from deepfake.training.data.epoch_plan import EpochPlan, plan_validation
from tests.training.data.plans import plan_epoch


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    """Crops of both classes and up to four methods, scattered over files and row groups."""
    counts = [draw(st.integers(1, 40)) for _ in range(1 + draw(st.integers(1, 4)))]
    method = np.repeat(np.arange(len(counts)), counts).astype(np.int16)  # 0 is real
    random = np.random.default_rng(draw(st.integers(0, 99)))
    method = method[random.permutation(len(method))]
    # fakes have an original among half of the reals, or none
    parents = np.append(np.flatnonzero(method == 0)[::2], -1)
    original = np.where(method > 0, random.choice(parents, len(method)), -1)
    place = np.arange(len(method))
    group_rows = draw(st.integers(1, 16))
    return Rows(
        file=(place // (3 * group_rows)).astype(np.int32),
        row_group=(place // group_rows % 3).astype(np.int32),
        row=(place % group_rows).astype(np.int32),
        label=(method > 0).astype(np.int8),
        method=method,
        methods=("real", "a", "b", "c", "d")[: len(counts)],
        original=original,
    )


BALANCE = st.sampled_from(["none", "class", "method", "paired"])
FAKES = st.sampled_from(["real", "sbi", "mix"])


@given(some_rows(), BALANCE, FAKES, st.integers(0, 3))
def test_each_crop_is_framed_by_one_of_the_other_class_and_pairs_by_each_other(
    rows: Rows, balance: str, fakes: str, epoch: int
) -> None:
    plan = plan_epoch(rows, balance, 8, 2, 7, epoch, fakes)
    label = rows.label[plan.rows]
    if len(np.unique(label)) < 2:  # self-blended reals alone
        assert plan.other is None
        return
    assert plan.other is not None
    assert (rows.label[plan.other] != label).all()
    assert np.isin(plan.other, plan.rows).all()
    for kind in (CropKind.BLENDED, CropKind.BESIDE):
        second = np.flatnonzero(plan.kind == kind)
        if kind == CropKind.BLENDED:
            assert (plan.other[second] == plan.other[second - 1]).all()
        else:
            assert (plan.other[second] == plan.rows[second - 1]).all()
            assert (plan.other[second - 1] == plan.rows[second]).all()
    assert np.array_equal(plan.other, plan_epoch(rows, balance, 8, 2, 7, epoch, fakes).other)


@given(
    some_rows(), BALANCE, FAKES, st.integers(1, 33), st.integers(1, 7), st.integers(1, 4), st.integers(0, 5)
)
def test_worker_slices_are_the_global_batches_whatever_the_number_of_workers(
    rows: Rows, balance: str, fakes: str, batch: int, world: int, window: int, epoch: int
) -> None:
    plan = plan_epoch(rows, balance, batch, window, 7, epoch, fakes)
    shares = [plan.cut_share(rank, world) for rank in range(world)]
    ends = [np.concatenate([[0], np.cumsum(share.sizes)]) for share in shares]
    for step in range(plan.steps):
        slices = [s.positions[e[step] : e[step + 1]] for s, e in zip(shares, ends, strict=True)]
        batch = np.arange(plan.cuts[step], plan.cuts[step + 1])
        assert sorted(np.concatenate(slices)) == batch.tolist()
        units = [len(set(plan.unit[part])) for part in slices]
        assert sum(units) == len(set(plan.unit[batch]))  # no pair is torn apart
        assert max(units) - min(units) <= 1
    assert all(len(share.positions) == end[-1] for share, end in zip(shares, ends, strict=True))


@given(some_rows(), st.integers(1, 33), st.integers(1, 5), st.integers(1, 4))
def test_a_worker_holds_one_window_at_a_time(rows: Rows, batch: int, world: int, window: int) -> None:
    plan = plan_epoch(rows, "none", batch, window, 0, 0)
    for rank in range(world):
        share = plan.cut_share(rank, world)
        covered = [p for start, stop in share.windows for p in range(start, stop)]
        assert covered == list(range(len(share.positions)))
        for start, stop in share.windows:
            chosen = plan.rows[share.positions[start:stop]]
            groups = set(zip(rows.file[chosen], rows.row_group[chosen], strict=True))
            assert len(groups) <= window


@given(some_rows(), st.integers(1, 6), st.integers(1, 9))
def test_validation_shows_every_crop_exactly_once(rows: Rows, world: int, batch: int) -> None:
    plan = plan_validation(rows)
    shares = [plan.cut_stretch(rank, world, batch) for rank in range(world)]
    shown = plan.rows[np.concatenate([share.positions for share in shares])]
    assert sorted(shown) == list(range(len(rows)))
    for share in shares:
        assert share.sizes.sum() == len(share.positions)
        assert share.sizes.max(initial=0) <= batch


@given(some_rows(), st.integers(0, 9))
def test_class_balance_shows_as_many_fakes_as_reals(rows: Rows, epoch: int) -> None:
    selection = select_crops(rows, "class", 3, epoch)
    chosen, occurrence = selection.rows, selection.occurrence
    smaller = np.bincount(rows.label, minlength=2).min()
    assert np.bincount(rows.label[chosen], minlength=2).tolist() == [smaller, smaller]
    assert len(set(zip(chosen, occurrence, strict=True))) == len(chosen)


@given(some_rows(), st.integers(0, 9))
def test_method_balance_shows_all_methods_alike(rows: Rows, epoch: int) -> None:
    selection = select_crops(rows, "method", 3, epoch)
    chosen, occurrence = selection.rows, selection.occurrence
    shown = np.bincount(rows.method[chosen], minlength=len(rows.methods))
    assert shown[0] == shown[1:].sum() == np.bincount(rows.label, minlength=2).min()
    full = shown == MOST_REPEATS * np.bincount(rows.method, minlength=len(rows.methods))
    free = shown[1:][~full[1:]]  # the others have what these could not fill
    if len(free):
        assert free.max() - free.min() <= 1
        assert free.min() >= shown[1:][full[1:]].max(initial=0) - 1
    assert occurrence.max() < MOST_REPEATS
    for row in set(chosen.tolist()):
        seen = occurrence[chosen == row]
        assert sorted(seen) == list(range(len(seen)))


@given(some_rows())
def test_in_time_every_crop_of_the_larger_class_is_shown_equally_often(rows: Rows) -> None:
    counts = np.bincount(rows.label, minlength=2)
    epochs = int(counts.max())  # then counts.max() * counts.min() draws fall on counts.max() crops
    shown = np.concatenate([select_crops(rows, "class", 1, epoch).rows for epoch in range(epochs)])
    larger = rows.label == counts.argmax()
    assert set(np.bincount(shown, minlength=len(rows))[larger]) == {int(counts.min())}


def kinds(selection: Selection, kind: CropKind) -> np.ndarray:
    return selection.rows[selection.kind == kind]


@given(some_rows(), BALANCE, st.integers(0, 9))
def test_self_blended_fakes_are_made_of_each_real_once_and_no_other_fake_is_shown(
    rows: Rows, balance: str, epoch: int
) -> None:
    found = select_crops(rows, balance, 3, epoch, "sbi")
    reals = np.flatnonzero(rows.label == 0)
    assert sorted(kinds(found, CropKind.TARGET)) == sorted(kinds(found, CropKind.BLENDED)) == reals.tolist()
    assert len(found.rows) == 2 * len(reals) and found.compute_labels(rows).mean() == 0.5


@given(some_rows(), BALANCE, st.integers(0, 9))
def test_in_a_mix_half_of_the_fakes_are_self_blended(rows: Rows, balance: str, epoch: int) -> None:
    found = select_crops(rows, balance, 3, epoch, "mix")
    labels = found.compute_labels(rows)
    blended, fakes = len(kinds(found, CropKind.BLENDED)), int(labels.sum())
    if balance == "none":
        assert blended == min(np.count_nonzero(rows.label == 0), fakes // 2)
    else:
        assert fakes - 2 * blended in (0, 1) and fakes == len(labels) - fakes
    shown = list(zip(found.rows[labels == 0], found.occurrence[labels == 0], strict=True))
    assert len(set(shown)) == len(shown)  # each real once, or else augmented as another


@given(some_rows(), BALANCE, FAKES, st.integers(1, 16), st.integers(1, 4), st.integers(0, 5))
def test_the_two_of_a_pair_follow_each_other_in_one_batch_with_the_real_first(
    rows: Rows, balance: str, fakes: str, pairs: int, window: int, epoch: int
) -> None:
    plan = plan_epoch(rows, balance, 2 * pairs, window, 7, epoch, fakes)
    followers = np.flatnonzero(np.isin(plan.kind, (CropKind.BLENDED, CropKind.BESIDE)))
    step = np.repeat(np.arange(plan.steps), np.diff(plan.cuts))
    for place in followers:
        lead, follower = plan.rows[place - 1], plan.rows[place]
        assert step[place - 1] == step[place] and plan.unit[place - 1] == plan.unit[place]
        assert plan.label[place - 1] == 0 and plan.label[place] == 1
        assert plan.window[place - 1] == plan.window[place]
        if plan.kind[place] == CropKind.BLENDED:
            assert plan.kind[place - 1] == CropKind.TARGET and lead == follower
        else:
            assert rows.original is not None and rows.original[follower] == lead
    assert np.diff(plan.cuts)[:-1].tolist() == [2 * pairs] * (plan.steps - 1)  # all full but the last
    assert (np.diff(plan.window) >= 0).all()


@given(some_rows(), st.integers(0, 9))
def test_paired_reals_are_shown_beside_a_fake_of_their_own(rows: Rows, epoch: int) -> None:
    assert rows.original is not None
    found = select_crops(rows, "paired", 3, epoch)
    labels = found.compute_labels(rows)
    assert np.count_nonzero(labels == 0) == labels.sum()
    beside = rows.original[kinds(found, CropKind.BESIDE)]
    assert sorted(beside) == sorted(set(rows.original[rows.original >= 0]))  # each of them once


@given(some_rows())
def test_in_time_every_fake_is_shown_beside_its_original(rows: Rows) -> None:
    assert rows.original is not None
    epochs = int(np.bincount(rows.original[rows.original >= 0], minlength=1).max())
    shown = [kinds(select_crops(rows, "paired", 3, epoch), CropKind.BESIDE) for epoch in range(epochs)]
    assert set(np.concatenate([*shown, []]).tolist()) == set(np.flatnonzero(rows.original >= 0).tolist())


@given(some_rows(), BALANCE, FAKES, st.integers(0, 2**40))
def test_the_plan_follows_from_seed_and_epoch(rows: Rows, balance: str, fakes: str, seed: int) -> None:
    first, again = (plan_epoch(rows, balance, 4, 2, seed, 1, fakes) for _ in range(2))
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.occurrence, again.occurrence)


def test_epochs_and_seeds_differ() -> None:
    count = 200
    rows = Rows(*(np.zeros(count, np.int32) for _ in range(2)), np.arange(count), *(
        np.arange(count) % 2 for _ in range(2)
    ), ("real", "fake"))  # fmt: skip
    orders = {tuple(plan_epoch(rows, "none", 8, 4, seed, epoch).rows) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def share_of_fakes(plan: EpochPlan) -> np.ndarray:
    """Of each whole batch."""
    whole = np.diff(plan.cuts) == np.diff(plan.cuts).max()
    return np.array([plan.label[start:stop].mean() for start, stop in pairwise(plan.cuts)])[whole]


@pytest.mark.parametrize("balance", ["class", "method"])
def test_batches_are_as_balanced_as_the_epoch_although_row_groups_are_of_one_class(balance: str) -> None:
    """As FaceForensics++ lies in files: 720 videos of each method, one method after the other."""
    method = np.repeat(np.arange(5), 720 * 16)
    place = np.arange(len(method))
    rows = Rows(
        place // 4096, place // 64 % 64, place % 64, (method > 0).astype(np.int8), method,
        ("real", "a", "b", "c", "d"),
    )  # fmt: skip
    for epoch in range(3):
        shares = share_of_fakes(plan_epoch(rows, balance, 32, 16, 0, epoch))
        independent_draws = np.sqrt(0.25 / 32)
        assert shares.std() < independent_draws
        assert shares.min() > 0 and shares.max() < 1


def test_what_a_rare_method_cannot_fill_goes_to_the_others() -> None:
    assert divide_evenly(10, np.array([1, 100, 100])).tolist() == [1, 5, 4]
    assert divide_evenly(10, np.array([2, 3, 1])).tolist() == [2, 3, 1]
    assert divide_evenly(7, np.array([50, 50, 50])).tolist() == [3, 2, 2]
    assert divide_evenly(0, np.array([5])).tolist() == [0]
    assert divide_evenly(5, np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize("world", [1, 3, 8])
def test_rows_of_a_row_group_stay_with_few_workers(world: int) -> None:
    count, group = 4096, 64
    place = np.arange(count)
    rows = Rows(place // 1024, place // group % 16, place % group, place % 2, place % 2, ("real", "fake"))
    plan = plan_epoch(rows, "none", 256, 16, 0, 0)
    reads = 0
    for rank in range(world):
        share = plan.cut_share(rank, world)
        for start, stop in share.windows:
            reads += len(set(plan.group[share.positions[start:stop]].tolist()))
    assert reads < 64 * (1 + world) / 2 + 1  # all workers reading every group would be 64 * world
