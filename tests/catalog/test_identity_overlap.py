from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.catalog.identity_overlap import (
    Overlap,
    choose_resampling_units,
    find_overlaps,
    names_people,
    require_both_classes,
    require_disjoint,
)
from deepfake.errors import UsageError
from deepfake.io import tables


def table_of(*rows):
    """Rows ``(video_id, split, target, source, group, label)``; later ones may be left out."""
    names = ("video_id", "split", "target_id", "source_id", "group_id", "label")
    return tables.from_rows("catalog", [{"uri": "/", **dict(zip(names, row, strict=False))} for row in rows])


def test_a_source_in_one_split_that_is_a_target_in_another_is_an_overlap():
    table = table_of(("a_b", "train", "a", "b"), ("b", "test", "b"))
    assert find_overlaps(table) == [Overlap("identity", "b", "train", "test", "a_b", "b")]


people = st.sampled_from("abcdef")
videos = st.lists(st.tuples(st.sampled_from(["train", "val", "test", None]), people, st.none() | people))


@given(videos)
def test_exactly_the_identities_of_two_splits_are_found(rows):
    table = table_of(*((f"{i}", split, a, b) for i, (split, a, b) in enumerate(rows)))
    where = {p: {s for s, *who in rows if s and p in who} for p in "abcdef"}
    expected = {
        (p, pair)
        for p, found in where.items()
        for pair in itertools.combinations(["train", "val", "test"], 2)
        if found.issuperset(pair)
    }
    assert {(o.identity, (o.split_a, o.split_b)) for o in find_overlaps(table)} == expected


def test_a_crops_table_with_many_rows_a_video_gives_the_same_answer_as_its_catalog():
    table = table_of(("x", "train", "a", None), ("y", "val", "a", None))
    assert find_overlaps(table.take(pa.array([0, 1, 0, 0, 1, 1]))) == find_overlaps(table)


def test_videos_without_identities_count_as_their_group_or_as_themselves():
    table = table_of(
        ("x", "train", None, None, "g"), ("y", "val", None, None, "g"), ("z", "train"), ("z", "val")
    )
    assert [(o.kind, o.identity) for o in find_overlaps(table)] == [("group", "g"), ("video", "z")]


def test_splits_that_are_not_asked_about_may_overlap():
    require_disjoint(table_of(("x", "train", "a"), ("y", "val", "a"), ("z", "test", "b")), ["train", "test"])


def test_an_overlap_names_the_splits_the_first_ten_identities_and_how_many_more():
    rows = [(f"{split}{i}", split, f"p{i:02d}") for i in range(13) for split in ("train", "test")]
    with pytest.raises(UsageError) as raised:
        require_disjoint(table_of(*rows), ["train", "test"])
    message = str(raised.value)
    assert "between train and test" in message
    assert "identity p09 is in train (train9) and in test (test9)" in message
    assert message.endswith("and 3 more") and "p10" not in message


def test_a_split_with_real_and_fake_videos_is_accepted():
    require_both_classes(table_of(("x", "val", "a", None, "a", 0), ("y", "val", "b", None, "b", 1)), "val")


def test_a_split_that_lacks_a_class_is_refused_with_counts_of_videos():
    table = table_of(
        ("x", "val", "a", None, "a", 0),
        ("y", "train", "b", None, "b", 1),
        ("z", None, "c", None, "c", None),
    )
    table = table.take(pa.array([0, 0, 0, 1, 2]))
    with pytest.raises(UsageError) as raised:
        require_both_classes(table, "val")
    assert str(raised.value) == (
        "split 'val' needs real and fake videos and has 1 real, 0 fake. In the table there are "
        "train: 0 real, 1 fake; val: 1 real, 0 fake; no split: 0 real, 0 fake and 1 unlabelled"
    )


def test_an_empty_split_is_refused():
    with pytest.raises(UsageError, match="split 'test' needs real and fake videos and has 0 real, 0 fake"):
        require_both_classes(table_of(("x", "val", "a", None, "a", 0)), "test")


def test_people_are_named_by_two_videos_of_one_or_by_who_lent_a_face():
    unnamed = [("a", "train", "a", None, "a"), ("a", "train", "a", None, "a"), ("b", "val", "b", None, "b")]
    assert not names_people(table_of(*unnamed))
    assert not names_people(table_of(("a", "train"), ("b", "val")))  # not even by a name of its own
    assert names_people(table_of(("a", "train", "x"), ("b", "val", "x")))
    assert names_people(table_of(("a", "train", "a"), ("b", "val", "b", "c")))
    assert not names_people(table_of())


@pytest.mark.parametrize(
    ("groups", "unit", "codes"),
    [
        (("g", "h", "g", "i"), "identity groups", [0, 1, 0, 2]),
        ((None, None, None, None), "videos", [0, 1, 2, 3]),
        (("a", "b", "c", "d"), "videos", [0, 1, 2, 3]),
        (("g", "g", "g", "h"), "people shown", [0, 1, 0, 2]),  # the reals are of one group
        (("g", "g", "g", "g"), "people shown", [0, 1, 0, 2]),
    ],
)
def test_what_a_bootstrap_draws_has_nobody_in_common_as_far_as_the_data_allow(groups, unit, codes):
    people, labels = ("ann", "bob", "ann", None), (0, 0, 1, 1)
    table = table_of(*((f"v{i}", "test", people[i], None, groups[i], labels[i]) for i in range(4)))
    found, word = choose_resampling_units(table)
    assert (found.tolist(), word) == (codes, unit)
