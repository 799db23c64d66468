"""Two outputs of the score job side by side, as ``--compare-with`` found them: the page ``changes.html``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model.verdicts import VERDICT_WORDS
from deepfake.pipelines.score import index_page, video_page
from deepfake.pipelines.score.diff import Comparison
from deepfake.report import html

PAGE = "changes.html"
SHOWN = 200  # videos in its table
BINS = 20
NO_SCORE, NOT_THERE = "no score", "not there"
_ANSWERS = (*VERDICT_WORDS.values(), NO_SCORE, NOT_THERE)


def write_changes_page(
    output: str, storage: Storage, comparison: Comparison, outputs: Sequence[Mapping[str, Any]]
) -> str:
    """Write the page below ``output``, whose other pages and thumbnails are there; its URI.

    ``outputs`` are the earlier one and this: ``output``, ``name`` and ``sha256`` of its bundle, and how its
    threshold was chosen, ``point``.
    """
    changes = comparison.changes
    answers = [_list_answers(changes, when) for when in ("before", "after")]
    turned = pa.array([old != new for old, new in zip(*answers, strict=True)], pa.bool_())
    order = pc.array_sort_indices(turned, order="descending")[:SHOWN]  # stable: the largest difference first
    rows = changes.take(order).to_pylist()
    pages = [_list_names(join(root, video_page.FOLDER), storage) for root in (comparison.before, output)]
    faces = _list_names(join(output, index_page.THUMBNAILS), storage)
    earlier = video_page.locate_local(join(comparison.before, video_page.FOLDER))
    for place, row in zip(order.to_pylist(), rows, strict=True):
        stem = video_page.name_file(row["video_id"])
        file = f"{stem}.html"
        row["before"], row["now"] = (answer[place] for answer in answers)
        row["page"] = f"{video_page.FOLDER}/{file}" if file in pages[1] else None
        row["page_before"] = f"{earlier}/{file}" if earlier and file in pages[0] else None
        row["face"] = f"{index_page.THUMBNAILS}/{stem}.jpg" if f"{stem}.jpg" in faces else None
    text = html.render_page(
        "changes.html",
        title="Two models side by side",
        back=index_page.PAGE,
        back_before=video_page.locate_local(join(comparison.before, index_page.PAGE)),
        compared=comparison.summarize(),
        outputs=outputs,
        thresholds=comparison.thresholds,
        total=changes.num_rows,
        turned=pc.sum(turned).as_py() or 0,
        answers=[words for words in _ANSWERS if words in {*answers[0], *answers[1]}],
        keys={words: key for key, words in VERDICT_WORDS.items()},
        counts=Counter(zip(*answers, strict=True)),
        cells=_count_cells(changes),
        bins=BINS,
        rows=rows,
    )
    storage.write_text(join(output, PAGE), text)
    return join(output, PAGE)


def _list_answers(changes: pa.Table, when: str) -> list[str]:
    """What one output says of each video, in words."""
    return [
        VERDICT_WORDS[verdict] if verdict else NOT_THERE if status is None else NO_SCORE
        for verdict, status in zip(
            changes[f"verdict_{when}"].to_pylist(), changes[f"status_{when}"].to_pylist(), strict=True
        )
    ]


def _list_names(folder: str, storage: Storage) -> set[str]:
    return {info.path for info in storage.list_files(folder)} if storage.is_folder(folder) else set()


def _count_cells(changes: pa.Table) -> list[tuple[int, int, int, float]]:
    """Videos with both scores: ``(before, now, videos, share)`` of each cell of a grid that has any.

    The first two count cells from 0, ``share`` is of the fullest one.
    """
    both = changes.filter(pc.is_valid(changes["difference"]))
    before, after = (both[f"score_{when}"].to_numpy() for when in ("before", "after"))
    counted, _, _ = np.histogram2d(before, after, BINS, [[0, 1], [0, 1]])
    return [
        (int(x), int(y), int(counted[x, y]), float(counted[x, y] / counted.max()))
        for x, y in zip(*np.nonzero(counted), strict=True)
    ]
