"""Which real crop belongs beside a fake one: the same frame of the video that the fake was made from.

For data sets whose fakes are frame-aligned with their originals, such as FaceForensics++.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.originals import match_clips


def find_originals(table: pa.Table) -> np.ndarray:
    """``(n,) int64``: for each fake the place of its original's crop of the same frame; -1 where none is.

    ``table`` has labelled crops. The original is the one real video with the fake's target, data set and
    compression; where there are several, none is chosen. Of several faces in its frame the nearest counts.
    """
    found = np.full(len(table), -1, np.int64)
    label = table["label"].to_numpy()
    clip, matched = match_clips(table)
    reals = np.flatnonzero((label == 0) & matched)
    frame = clip.astype(np.int64) << 32 | table["frame_index"].to_numpy().astype(np.int64)
    reals = reals[np.argsort(frame[reals], kind="stable")]
    fakes = np.flatnonzero((label == 1) & matched)
    begin, end = (np.searchsorted(frame[reals], frame[fakes], side) for side in ("left", "right"))
    single = end - begin == 1
    found[fakes[single]] = reals[begin[single]]
    box = table["box"].combine_chunks()
    x, y, w, h = (np.asarray(pc.struct_field(box, name).to_numpy(zero_copy_only=False)) for name in "xywh")
    centres = np.column_stack([x + w / 2, y + h / 2])  # in the frame's pixels
    for several in np.flatnonzero(end - begin > 1):
        candidates = reals[begin[several] : end[several]]
        distance = np.linalg.norm(centres[candidates] - centres[fakes[several]], axis=1)
        found[fakes[several]] = candidates[int(distance.argmin())]
    return found
