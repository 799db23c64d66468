from __future__ import annotations

import json
import logging
import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.catalog import identity_overlap, splits
from deepfake.catalog.split_allocation import allocate
from deepfake.config import CatalogConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage

SHARES = (0.72, 0.14, 0.14)


def catalog_of(rows):
    """``(target, source or None)`` of each video; one with a source is a fake."""
    return tables.from_rows(
        "catalog",
        [
            {
                "video_id": f"{i:04d}",
                "uri": f"/{i}",
                "label": int(b is not None),
                "target_id": a,
                "source_id": b,
            }
            for i, (a, b) in enumerate(rows)
        ],
    )


def assigned(table, **options):
    return splits.assign_splits(table, CatalogConfig(**options), Storage())


def by_video(table, column="split"):
    return dict(zip(table["video_id"].to_pylist(), table[column].to_pylist(), strict=True))


people = st.integers(0, 25).map("p{:02d}".format)
pair_graphs = st.lists(st.tuples(people, st.none() | people), min_size=1, max_size=60)


@given(pair_graphs, st.integers(0, 3))
def test_no_identity_is_in_two_splits_whatever_joins_the_identities(rows, seed):
    assert identity_overlap.find_overlaps(assigned(catalog_of(rows), split_seed=seed)) == []


@given(pair_graphs)
def test_a_group_is_the_smallest_identity_that_can_be_reached(rows):
    reach = {name: {name} for row in rows for name in row if name}
    for a, b in rows:
        if b:
            merged = reach[a] | reach[b]
            for name in merged:
                reach[name] = merged
    table = catalog_of(rows)
    assert splits.compute_group_ids(table).to_pylist() == [min(reach[a]) for a, _ in rows]


@given(pair_graphs, st.randoms())
def test_the_order_of_the_rows_changes_nothing(rows, shuffle: random.Random):
    table = catalog_of(rows)
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    assert by_video(assigned(table)) == by_video(assigned(table.take(pa.array(order))))


@settings(max_examples=50)
@given(st.integers(40, 400), st.integers(1, 6), st.integers(0, 100))
def test_shares_of_both_classes_are_met_to_within_a_group(groups, fakes, seed):
    rows = [(f"{i}", None) for i in range(groups)] + [(f"{i}", f"{i}") for i in range(groups)] * fakes
    table = assigned(catalog_of(rows), split_seed=seed)
    counts = Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    off = [
        abs(counts[name, label] / size - share * groups)
        for name, share in zip(("train", "val", "test"), SHARES, strict=True)
        for label, size in ((0, 1), (1, fakes))
    ]
    assert max(off) <= 1.5


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(any), min_size=1, max_size=40))
def test_every_split_has_both_classes_where_the_groups_allow(counts):
    table = np.array(counts)
    chosen = allocate([str(i) for i in range(len(table))], table, SHARES, 0)
    real, fake = (table[:, 0] > 0).sum(), (table[:, 1] > 0).sum()
    mixed = ((table > 0).all(axis=1)).sum()
    possible = min(3, mixed + min(real - mixed, fake - mixed))
    served = sum((table[chosen == split].sum(axis=0) > 0).all() for split in range(3))
    assert served >= possible


def test_very_unequal_groups_still_come_close_to_the_shares():
    counts = np.random.default_rng(1).geometric(0.05, (300, 2))
    chosen = allocate([str(i) for i in range(300)], counts, SHARES, 0)
    got = np.array([counts[chosen == split].sum(axis=0) for split in range(3)]) / counts.sum(axis=0)
    assert np.abs(got - np.array(SHARES)[:, None]).max() < 0.01


def test_the_largest_groups_do_not_all_go_to_one_split():
    counts = np.array([[20, 20]] * 30 + [[1, 1]] * 600)
    chosen = allocate([str(i) for i in range(630)], counts, SHARES, 0)
    assert Counter(chosen[:30].tolist()).keys() == {0, 1, 2}


def test_a_split_of_share_zero_gets_nothing():
    chosen = allocate([str(i) for i in range(50)], np.array([[1, 1]] * 50), (0.8, 0.2, 0.0), 0)
    assert Counter(chosen.tolist()) == {0: 40, 1: 10}


def test_another_seed_gives_another_split():
    table = catalog_of([(f"{i}", None) for i in range(100)])
    assert by_video(assigned(table)) != by_video(assigned(table, split_seed=1))


def test_videos_without_a_label_get_no_automatic_split():
    table = tables.from_rows("catalog", [{"video_id": "a", "uri": "/a"}])
    assert assigned(table)["split"].to_pylist() == [None]


def test_identities_that_all_hang_together_are_reported(caplog):
    rows = [(f"{i}", f"{i + 1}") for i in range(9)] + [(f"{i}", None) for i in range(9)]
    with caplog.at_level(logging.WARNING):
        assigned(catalog_of(rows))
    assert "the largest with 18 of 18 videos" in caplog.text


@pytest.fixture
def lists(tmp_path: Path) -> str:
    pairs = {"train": [["000", "003"], ["001", "002"]], "val": [["010", "011"]], "test": [["020", "021"]]}
    for name, listed in pairs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(listed))
    (tmp_path / "conversion_dict.json").write_text('{"000": "abc 0"}')
    return str(tmp_path)


def youtube(*names: str) -> pa.Table:
    ids = [[f"youtube/{part}" for part in name.split("_")] for name in names]
    return catalog_of([(a, rest[0] if rest else None) for a, *rest in ids])


def test_official_pairs_hold_in_either_order_and_originals_follow_their_id(lists):
    table = assigned(youtube("003", "000_003", "011_010", "020"), splits_dir=lists)
    assert table["split"].to_pylist() == ["train", "train", "val", "test"]


def test_a_fake_that_joins_two_official_splits_is_in_none(lists, caplog):
    table = assigned(youtube("000_010", "000", "010"), splits_dir=lists)
    assert table["split"].to_pylist() == [None, "train", "val"]
    assert "are in none" in caplog.text


def test_an_unlisted_clip_follows_the_listed_one_it_is_joined_to(lists):
    assert assigned(youtube("500", "500_010"), splits_dir=lists)["split"].to_pylist() == ["val", "val"]


def test_official_lists_may_begin_with_a_byte_order_mark_and_are_utf_8(lists):
    for path in Path(lists).glob("*.json"):
        path.write_text(path.read_text(), encoding="utf-8-sig")
    assert splits.read_official(lists, Storage())["clips"]["000"] == 0
    (Path(lists) / "val.json").write_text("[]", encoding="utf-16")
    with pytest.raises(UsageError, match=r"val.json: is not in UTF-8; save it as UTF-8"):
        splits.read_official(lists, Storage())


def test_the_official_lists_do_not_speak_of_other_datasets(lists):
    rows = [(f"actors/{i:03d}", None) for i in range(12)]
    table = assigned(catalog_of(rows), splits_dir=lists)
    assert table["split"].to_pylist() == assigned(catalog_of(rows))["split"].to_pylist()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("val.json", None, r"val\.json does not exist; the folder must have train\.json"),
        ("val.json", "{", r"val\.json: not valid JSON"),
        ("val.json", '{"a": 1}', r"expected a list of pairs"),
        ("val.json", '[["000", "099"]]', r"000 is listed in train and in val"),
    ],
)
def test_faulty_official_lists_are_refused(lists, file, text, message):
    path = Path(lists, file)
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UsageError, match=message):
        assigned(youtube("000"), splits_dir=lists)


def test_a_pattern_overrides_every_other_split_and_its_matches_are_counted(lists, caplog):
    with caplog.at_level(logging.INFO):
        table = assigned(youtube("000", "010"), splits_dir=lists, assign_splits={"*1": "test"})
    assert table["split"].to_pylist() == ["train", "test"]
    assert "'*1' matches 1 videos" in caplog.text


def test_the_rest_of_a_group_follows_a_split_given_by_hand():
    rows = [("ann", None), ("ann", "bob"), ("bob", None)]
    assert set(assigned(catalog_of(rows), assign_splits={"0000": "test"})["split"].to_pylist()) == {"test"}


def test_of_two_patterns_that_match_the_last_one_holds():
    patterns = {"*": "train", "0001": "val"}
    table = assigned(catalog_of([("a", None), ("b", None)]), assign_splits=patterns)
    assert table["split"].to_pylist() == ["train", "val"]


def test_a_pattern_that_matches_nothing_is_a_usage_error():
    with pytest.raises(UsageError, match=r"'real/\*' matches none of the 1 videos"):
        assigned(catalog_of([("a", None)]), assign_splits={"real/*": "val"})


@pytest.mark.data
def test_the_genuine_clips_are_where_the_official_lists_put_them(data: Path, load):
    table = load(data / "ffpp", splits_dir=str(data / "ffpp_splits"))
    found = defaultdict(set)
    for video, split in by_video(table).items():
        found[split].add(Path(video).stem)
    assert found == {
        "train": {"519", "519_515", "750_743"},
        "val": {"004", "004_982"},
        "test": {"634", "634_660"},
    }


@pytest.mark.data
def test_the_official_lists_make_five_hundred_groups_of_two(data: Path):
    lists = splits.read_official(str(data / "ffpp_splits"), Storage())
    assert Counter(lists["clips"].values()) == {0: 720, 1: 140, 2: 140}
    table = assigned(youtube(*lists["pairs"]), splits_dir=str(data / "ffpp_splits"))
    assert set(Counter(table["group_id"].to_pylist()).values()) == {2}
