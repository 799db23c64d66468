"""A long video worked through in pieces by several workers, and joined to what one worker would find.

A survey lists the video's packets once and cuts the sampled frames, at key frames, into pieces that need no
packet in common. Each piece is looked at by itself: its faces and the crops that may be kept. Who is who
and who is kept is decided over all pieces at the join. Plain functions; Ray is elsewhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepfake.config import hash_json
from deepfake.crops.extraction import (
    EncodedFace,
    ExtractConfig,
    ExtractionResult,
    SampledFrame,
    attempt,
    find_faces,
    list_source_facts,
    make_crop_rows,
    make_face_finder,
)
from deepfake.faces.detectors.base import Detection, Detector
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.tables.columns import CREDENTIALS
from deepfake.io.tables.videos import make_video_row
from deepfake.io.uri import join
from deepfake.outcome import get_clock
from deepfake.video.decoder import Listing, describe_lost
from deepfake.video.errors import VideoError
from deepfake.video.packets import Packets, VideoInfo, choose_cuts
from deepfake.video.source import REPLACED, open_listed, open_video

# What a survey tells of the whole video, beside its packets.
SURVEYED = (
    "content_sha256", "etag", "size_bytes",
    *(field.name for field in (*fields(VideoInfo), *CREDENTIALS)),
)  # fmt: skip

_PIXELS = ("crop", "surround")
LISTING_KEY = b"deepfake.listing"  # in the metadata of a ``packets`` table: what is no column of it


@dataclass(frozen=True)
class Pieces:
    """A whole video's pieces, in order, and where their tables are kept."""

    folder: str  # URI
    survey_id: str
    piece_ids: tuple[str, ...]

    @property
    def packets_uri(self) -> str:
        """The survey's table of packets."""
        return join(self.folder, "packets", f"{self.survey_id}.parquet")


# Columns that a catalog row carries through Ray where its video was cut into pieces.
PIECE_COLUMNS = {"folder": pa.string(), "survey_id": pa.string(), "piece_ids": pa.list_(pa.string())}


def take_pieces(entry: dict[str, Any]) -> Pieces | None:
    """The pieces that a catalog row names, taken out of it; None where it has none."""
    folder, survey, ids = (entry.pop(name, None) for name in PIECE_COLUMNS)
    return Pieces(folder, survey, tuple(ids)) if ids else None


def make_survey_id(entry: Mapping[str, Any], config_sha256: str, piece_seconds: float) -> str:
    """Names the survey of a catalog row as units are named: other bytes or settings give another name."""
    return hash_json([*_list_identity(entry, config_sha256), "survey", piece_seconds])[:16]


def make_piece_id(entry: Mapping[str, Any], config_sha256: str, first: int, stop: int) -> str:
    """Names a piece of a catalog row: the sampled frames from ``first`` to before ``stop``."""
    return hash_json([*_list_identity(entry, config_sha256), "piece", first, stop])[:16]


def _list_identity(entry: Mapping[str, Any], config_sha256: str) -> list[str]:
    return [config_sha256, entry["video_id"], str(entry["size_bytes"]), str(entry.get("modified"))]


def survey_packets(
    entry: Mapping[str, Any],
    piece_seconds: float,
    config: ExtractConfig,
    detector: Detector,
    storage: Storage,
) -> ExtractionResult:
    """List a video's packets and cut what is sampled of it into pieces. Nothing is decoded."""
    listed: list[pa.Table] = []

    def work(video: dict[str, Any]) -> None:
        with get_clock().on("decode"), open_video(entry["uri"], storage, config.sampling) as source:
            video |= list_source_facts(source, config)
            wanted = source.video.choose_frames()
            if source.video.is_image:
                raise VideoError(Status.UNSUPPORTED, "a still image is not cut into pieces")
            listing = source.video.list_packets()
            video["status_detail"] = listing.incomplete
            bounds = [*choose_cuts(listing.packets, wanted, piece_seconds), len(wanted)]
            listed.append(make_packets_table(listing, bounds))
        video["status"] = Status.OK

    video = attempt(entry, detector.name, work)
    return ExtractionResult(video, listed[0] if listed else tables.from_rows("packets", []))


def find_piece_faces(
    entry: Mapping[str, Any],
    bounds: tuple[int, int],
    packets: pa.Table,
    config: ExtractConfig,
    detector: Detector,
    storage: Storage,
) -> ExtractionResult:
    """Faces of a piece's frames, and the crops of those that may be kept; ``packets`` is the survey's."""
    kept: list[SampledFrame] = []

    def work(video: dict[str, Any]) -> None:
        with get_clock().on("decode"):
            listing = read_packets_table(packets)
            source = open_listed(entry["uri"], storage, config.sampling, listing)
        with source:
            video |= list_source_facts(source, config)
            wanted = source.video.choose_frames()[slice(*bounds)]
            finds = make_face_finder(entry, config, detector, storage, wanted)
            kept.extend(find_faces(source.video.decode_frames(wanted), config, finds))
            source.require_unchanged(entry["uri"], storage)
            video["status_detail"] = source.video.damage
        video["frames_sampled"] = len(kept)
        video["status"] = Status.OK

    video = attempt(entry, detector.name, work)
    rows = [row for frame in kept for row in make_face_rows(frame)] if video["status"] == Status.OK else []
    return ExtractionResult(video, tables.from_rows("pieces", rows))


def join_pieces(
    entry: Mapping[str, Any], whole: Pieces, config: ExtractConfig, storage: Storage
) -> ExtractionResult:
    """What ``extract`` gives for the video, from its pieces."""
    # Outside the attempt: what cannot be read here is the job's own, and says nothing of the video.
    [survey_row, *rows] = _read_videos(whole, [whole.survey_id, *whole.piece_ids], storage)
    asked = read_bounds(whole.packets_uri, storage)[-1]
    failed = next((row for row in rows if row["status"] != Status.OK), None)
    if failed is not None and failed["detector"] is None:  # the process that looked at it died
        row = make_video_row(entry) | {name: failed[name] for name in ("status", "status_detail", "retry")}
        return ExtractionResult(row, tables.from_rows("crops", []))
    frames: list[SampledFrame] = []
    if failed is None:
        frames += [frame for piece in whole.piece_ids for frame in _read_frames(whole, piece, storage)]
    found: list[dict[str, Any]] = []

    def work(video: dict[str, Any]) -> None:
        video |= {name: survey_row[name] for name in SURVEYED}
        for stage in ("decode", "detect", "crop"):
            column = f"{stage}_seconds"
            video[column] = sum(row[column] or 0.0 for row in [survey_row, *rows])
        if failed is not None:
            raise VideoError(Status(failed["status"]), failed["status_detail"], bool(failed["retry"]))
        # An etag of the survey is missing where it read, and hashed, all bytes.
        if len({row["etag"] for row in rows} | ({survey_row["etag"]} - {None})) > 1:
            raise VideoError(Status.UNREADABLE, REPLACED, retry=True)
        details = [row["status_detail"] for row in [survey_row, *rows] if row["status_detail"]]
        incomplete = details[0] if details else describe_lost(asked - len(frames), asked)
        found.extend(make_crop_rows(video, frames, incomplete, config))

    video = attempt(entry, survey_row["detector"], work)
    if video["status"] != Status.OK:
        return ExtractionResult(video, tables.from_rows("crops", []))
    _fill(found, whole, storage)
    return ExtractionResult(video, tables.from_rows("crops", found))


def _read_videos(whole: Pieces, ids: Sequence[str], storage: Storage) -> list[dict[str, Any]]:
    return [
        tables.read_table(storage, join(whole.folder, "videos", f"{name}.parquet"), "videos").to_pylist()[0]
        for name in ids
    ]


def _read_frames(whole: Pieces, piece_id: str, storage: Storage) -> Iterator[SampledFrame]:
    """The frames of a piece, their crops still to come."""
    names = [name for name in tables.list_columns("pieces") if name not in _PIXELS]
    table = tables.read_table(storage, join(whole.folder, "pieces", f"{piece_id}.parquet"), "pieces", names)
    whose = itemgetter("frame_index", "time_s", "frame_height", "frame_width")
    for (index, time_s, *size), rows in groupby(table.to_pylist(), whose):
        frame = SampledFrame(index, time_s, tuple(size), [], {})
        for row in rows:
            if row["face_index"] is not None:
                points = None if row["landmarks"] is None else tuple(row["landmarks"])
                frame.faces.append(Detection(row["x"], row["y"], row["w"], row["h"], row["score"], points))
                if row["sharpness"] is not None:
                    frame.images[row["face_index"]] = EncodedFace(b"", row["sharpness"])
        yield frame


def _fill(rows: list[dict[str, Any]], whole: Pieces, storage: Storage) -> None:
    """Give the kept rows their crops, from one piece at a time."""
    waiting = {(row["frame_index"], row["face_index"]): row for row in rows}
    for piece_id in whole.piece_ids:
        uri = join(whole.folder, "pieces", f"{piece_id}.parquet")
        with tables.open_table(storage, uri, "pieces") as parquet:
            for batch in parquet.iter_batches(64, columns=["frame_index", "face_index", *_PIXELS]):
                keys = zip(batch["frame_index"].to_pylist(), batch["face_index"].to_pylist(), strict=True)
                for number, key in enumerate(keys):
                    if key in waiting:
                        waiting[key] |= {name: batch[name][number].as_py() for name in _PIXELS}


def make_face_rows(frame: SampledFrame) -> list[dict[str, Any]]:
    """Rows of table ``pieces``: one for each face, or one for a frame without any."""
    common: dict[str, Any] = {
        "frame_index": frame.index,
        "time_s": frame.time_s,
        "frame_height": frame.size[0],
        "frame_width": frame.size[1],
    }
    if not frame.faces:
        return [common]
    rows = []
    for number, face in enumerate(frame.faces):
        image = frame.images.get(number)
        rows.append(
            common
            | {"face_index": number, "x": face.x, "y": face.y, "w": face.w, "h": face.h, "score": face.score}
            | {"landmarks": None if face.landmarks is None else list(face.landmarks)}
            | ({} if image is None else vars(image))
        )
    return rows


# A listing as a table.


def make_packets_table(listing: Listing, bounds: Sequence[int]) -> pa.Table:
    """A video's packets, with the bounds of its pieces, as table ``packets``."""
    packets = listing.packets
    rest = {
        "info": asdict(listing.info),
        "incomplete": listing.incomplete,
        "stamped": packets.stamped,
        "time_base": str(packets.time_base),
        "last_seconds": str(packets.last_seconds),
        "parts": packets.parts,
        "bounds": [int(bound) for bound in bounds],
    }
    schema = tables.make_schema("packets")
    columns = [packets.stamps, packets.keys, packets.shown, packets.offsets, packets.sizes]
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema.with_metadata({**schema.metadata, LISTING_KEY: json.dumps(rest)}),
    )


def read_packets_table(table: pa.Table) -> Listing:
    """The listing of what ``make_packets_table`` made."""
    rest = json.loads(table.schema.metadata[LISTING_KEY])
    stamps, keys, shown, offsets, sizes = (column.to_numpy() for column in table.columns)
    base, last = Fraction(rest["time_base"]), Fraction(rest["last_seconds"])
    packets = Packets(stamps, keys, shown, offsets, sizes, rest["stamped"], base, last, rest["parts"])
    return Listing(VideoInfo(**rest["info"]), packets, rest["incomplete"])


def read_bounds(uri: str, storage: Storage) -> list[int]:
    """The bounds of a survey's pieces, without reading its packets; empty where it failed."""
    with storage.open(uri) as file:
        rest = (pq.read_schema(file).metadata or {}).get(LISTING_KEY)
    return [] if rest is None else json.loads(rest)["bounds"]
