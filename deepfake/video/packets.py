"""The packets of a video stream: which of them wanted frames need, and where those lie in the file.

Pure functions on arrays; nothing here opens a file.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import numpy as np

from deepfake.io.ranged_file import merge_ranges

SLOW = 10  # a jump is longer than so many usual steps


@dataclass(frozen=True)
class VideoInfo:
    """What the container says, after its packets were counted."""

    codec: str
    width: int  # pixels, before any rotation for display
    height: int
    duration_s: float
    frames_total: int
    transfer: str | None = None  # transfer characteristics, as FFmpeg names them
    notes: str | None = None  # what the one who reads a row should know, in words


@dataclass(frozen=True)
class Packets:
    """Every packet of a stream, in decoding order, and the frames that they show.

    Attributes
    ----------
    stamps : (n,) int64
        Presentation stamps in units of ``time_base``, each part's moved behind those of the part before; the
        packet's position where a packet has none.
    keys, shown : (n,) bool
        Whether decoding can start here; whether a frame of it is shown (what stands before the start of an
        edit is decoded and not shown).
    offsets, sizes : (n,) int64
        Bytes in the file; an offset is -1 where the container does not tell.
    stamped : bool
        Whether the stamps order the frames and tell them apart. Without, frames are told by counting what is
        decoded, and the stamps only say when one is shown, in their own order.
    time_base : Fraction
        Seconds a unit of the stamps.
    last_seconds : Fraction
        How long the last frame is shown.
    parts : int
        How many clocks the stream has; with more than one the stamps are not those of the file.
    """

    stamps: np.ndarray
    keys: np.ndarray
    shown: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    stamped: bool
    time_base: Fraction
    last_seconds: Fraction
    parts: int = 1

    def __len__(self) -> int:
        return len(self.stamps)

    @cached_property
    def order(self) -> np.ndarray:
        """(frames,) int64: the packet of each frame, in order of presentation."""
        shown = np.flatnonzero(self.shown)
        return shown[np.argsort(self.stamps[shown], kind="stable")] if self.stamped else shown

    @cached_property
    def times(self) -> np.ndarray:
        """(frames,) float64: presentation times in seconds from the first frame."""
        ordered = np.sort(self.stamps[self.shown])
        return (ordered - ordered[:1]) * float(self.time_base)

    @property
    def keyframes(self) -> np.ndarray:
        """(frames,) bool: whether each frame is a key frame."""
        return self.keys[self.order]

    @property
    def duration_s(self) -> float:
        """Presentation time of the last frame plus its length."""
        return float(self.times[-1]) + float(self.last_seconds)

    @cached_property
    def can_be_found(self) -> bool:
        """Whether a packet's stamp tells which one it is, so that reading may go on anywhere."""
        return self.stamped and self.parts == 1 and len(np.unique(self.stamps)) == len(self.stamps)

    @cached_property
    def _by_stamp(self) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(self.stamps, kind="stable")
        return self.stamps[order], order

    def find_position(self, stamp: int | None) -> int | None:
        """Which packet has this stamp; None where there is none."""
        if stamp is None:
            return None
        ordered, order = self._by_stamp
        found = int(np.searchsorted(ordered, stamp))
        return int(order[found]) if found < len(ordered) and ordered[found] == stamp else None


def join_timestamps(
    stamps: np.ndarray, clock: np.ndarray, shown: np.ndarray, back: int, jump: int
) -> tuple[np.ndarray, int]:
    """Stamps of a stream whose clock is set anew on the way, as of recordings that were joined.

    Parts that follow a step back stay in decoding order, each a frame behind the one before; within a part
    frames stay in the order of their stamps, and a jump ahead is as long as a frame.

    Parameters
    ----------
    stamps, clock, shown : (n,) int64, int64, bool
        Presentation stamp, time of decoding of each packet, and whether it is shown, in decoding order.
    back, jump
        A step of the clock back by more than the one, or between two stamps ahead by more than the other, is
        no time that passed; unless most steps are nearly as long, as of pictures taken once a minute.

    Returns
    -------
    (n,) int64 and how many clocks there are; with one, the stamps are as they were.
    """
    # An edit list too goes back to decode what it shows next, but for FFmpeg's order of decoding at its cuts.
    overlap = 0 if shown.all() else SLOW * back
    backs = np.flatnonzero(np.diff(clock) < -back) + 1
    edges = [0]
    for place, following in pairwise([*backs.tolist(), len(stamps)]):
        before, after = (
            stamps[first:stop][shown[first:stop]] for first, stop in ((edges[-1], place), (place, following))
        )
        if len(before) and len(after) and after.min() + overlap <= before.max():
            edges.append(place)
    edges.append(len(stamps))
    parts = [np.arange(first, stop) for first, stop in pairwise(edges)]
    order = np.concatenate([part[np.argsort(stamps[part], kind="stable")] for part in parts])
    steps = np.diff(stamps[order])
    between = np.array(edges[1:-1], np.int64) - 1  # the steps from part to part
    within = np.delete(steps, between)
    usual = max(1, int(np.median(within))) if len(within) else 1
    is_new = steps > max(jump, SLOW * usual)
    is_new[between] = True
    steps[is_new] = usual
    joined = np.empty_like(stamps)
    joined[order] = np.cumsum(np.concatenate([stamps[order[:1]], steps]))
    return joined, 1 + int(is_new.sum())


def find_run_starts(stamps: np.ndarray, keys: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """From which packet each of ``positions`` can be decoded.

    Parameters
    ----------
    stamps, keys : (n,) int64, (n,) bool
        Presentation stamp and key flag of each packet, in decoding order.
    positions : (k,) int64
        Packets, in any order.

    Returns
    -------
    (k,) int64: for each the last key frame that is shown no later than it; 0 where there is none. A frame
    that is decoded after a key frame but shown before it (an open group of pictures) thus starts from the
    key frame before.
    """
    key_positions = np.flatnonzero(keys)
    before = np.searchsorted(key_positions, positions, side="right") - 1
    starts = np.zeros(len(positions), np.int64)
    for i, (position, key) in enumerate(zip(positions, before, strict=True)):
        while key >= 0 and stamps[key_positions[key]] > stamps[position]:
            key -= 1
        starts[i] = key_positions[key] if key >= 0 else 0
    return starts


def find_needed_packets(stamps: np.ndarray, keys: np.ndarray, wanted: set[int]) -> np.ndarray:
    """(n,) bool: packets to decode so that the frames with the ``wanted`` stamps come out."""
    positions = np.flatnonzero(np.isin(stamps, np.fromiter(wanted, np.int64, len(wanted))))
    needed = np.zeros(len(stamps) + 1, np.int64)
    np.add.at(needed, find_run_starts(stamps, keys, positions), 1)
    np.add.at(needed, positions + 1, -1)
    return np.cumsum(needed[:-1]) > 0


def find_runs(needed: np.ndarray) -> list[tuple[int, int]]:
    """``(first, stop)`` of each stretch of needed packets."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], needed.astype(np.int8), [0]])))
    return [(int(first), int(stop)) for first, stop in zip(edges[::2], edges[1::2], strict=True)]


def list_byte_ranges(packets: Packets, needed: np.ndarray) -> list[tuple[int, int]] | None:
    """``(start, stop)`` of the bytes of the needed packets, sorted and joined where they touch.

    None where the container does not tell where its packets lie.
    """
    starts, sizes = packets.offsets[needed], packets.sizes[needed]
    if (starts < 0).any():
        return None
    order = np.argsort(starts, kind="stable")
    return merge_ranges([(int(starts[i]), int(starts[i] + sizes[i])) for i in order], gap=0)


def choose_cuts(packets: Packets, wanted: np.ndarray, seconds: float) -> list[int]:
    """Where to cut the ``wanted`` frames into pieces of about so many seconds that share no group.

    Parameters
    ----------
    wanted : (k,) int64
        Indices of frames, increasing.

    Returns
    -------
    Where in ``wanted`` each piece begins; the first is 0. A cut lies where everything wanted from there on
    can be decoded without a packet that something before it needs.
    """
    if not packets.stamped or not len(wanted):
        return [0]
    positions = packets.order[wanted]
    starts = find_run_starts(packets.stamps, packets.keys, positions)
    last_before = np.maximum.accumulate(positions)[:-1]
    first_after = np.minimum.accumulate(starts[::-1])[::-1][1:]
    possible = np.flatnonzero(first_after > last_before) + 1
    times = packets.times[wanted]
    cuts = [0]
    for place in possible:
        if times[place] - times[cuts[-1]] >= seconds:
            cuts.append(int(place))
    return cuts
