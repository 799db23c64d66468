"""Which real video a fake was made from, for data sets whose fakes are frame-aligned with it."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

log = logging.getLogger(__name__)

COLUMN = "original_uri"
_CLIP = ("target_id", "dataset", "compression")  # what a fake and its original share


def match_clips(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """``(clip, matched)`` of a table with one or many rows a video.

    ``clip``: (rows,) int64, a number for each target, data set and compression. ``matched``: (rows,) bool,
    whether the table has exactly one real video of the row's clip, which then is the original of its fakes.
    """
    clip = encode_text([pc.fill_null(table[name], "") for name in _CLIP])
    known = table["target_id"].is_valid().to_numpy(zero_copy_only=False)
    reals = np.flatnonzero(pc.fill_null(pc.equal(table["label"], 0), False).to_numpy() & known)
    video = encode_text([table["video_id"]])
    first, last = (np.full(clip.max(initial=-1) + 1, start, np.int64) for start in (len(table), -1))
    np.minimum.at(first, clip[reals], video[reals])
    np.maximum.at(last, clip[reals], video[reals])
    return clip, (first == last)[clip] & known


def attach_originals(catalog: pa.Table) -> pa.Table:
    """The catalog with a column ``original_uri``: for a fake, the real clip of its target; else null.

    The original has the fake's target, data set and compression. A fake whose original is not in the
    catalog, or is there more than once, has null, and is counted in a warning.
    """
    clip, matched = match_clips(catalog)
    label = pc.fill_null(catalog["label"], -1).to_numpy()
    original = np.zeros(clip.max(initial=-1) + 1, np.int64)
    original[clip[label == 0]] = np.flatnonzero(label == 0)
    paired = matched & (label == 1)
    if absent := int((label == 1).sum() - paired.sum()):
        log.warning("%d fakes have no original in the catalog; they keep boxes of their own", absent)
    found = catalog["uri"].take(pa.array(original[clip], mask=~paired))
    return catalog.append_column(COLUMN, found.cast(pa.string()))


def encode_text(columns: list[pa.ChunkedArray]) -> np.ndarray:
    """``(rows,) int64``: the same number for rows that are the same in all columns of text."""
    text = columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, "\x1f")
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    return np.asarray(pc.dictionary_encode(text).indices.to_numpy(), np.int64)
