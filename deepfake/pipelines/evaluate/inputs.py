"""Which labelled faces are evaluated: the rows of a crops folder, or of a score table. No pixels, no Ray."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.identity_overlap import require_both_classes
from deepfake.catalog.manifest import read_labels
from deepfake.catalog.provenance import FAKE, REAL
from deepfake.crops import facts
from deepfake.crops.dataset import KEY, index_rows, require_distinct
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.parts import list_part_files, read_output_manifest
from deepfake.io.run_record import read_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join

log = logging.getLogger(__name__)

ALL = "all"
_SCORE_COLUMNS = ("score", "bundle_sha256", "config_sha256")
_KEY_COLUMNS = tuple(name for name in tables.list_columns("face_scores") if name not in _SCORE_COLUMNS)
_VIDEO_COLUMNS = (
    "video_id", "uri", "split", "label", "status", "content_sha256", "duration_s",
    "dataset", "method", "compression", "target_id", "source_id", "group_id", "groups",
)  # fmt: skip


@dataclass(frozen=True)
class LabelledFaces:
    """Rows of faces and where they came from."""

    kind: Literal["crops", "face_scores"]
    uri: str
    files: tuple[str, ...]  # URIs
    table: pa.Table  # key and provenance columns, sorted by key; file, row_group, row; facts or scores
    config: Mapping[str, Any]  # what the job that wrote them left in _config.json; empty where absent
    unlabelled: int = 0  # rows left out because they have no label
    videos: pa.Table | None = None  # of every video looked at _VIDEO_COLUMNS; None where unknown


def load_faces(uri: str, storage: Storage) -> LabelledFaces:
    """All rows of a crops folder, a ``face_scores`` folder, or the folder of jobs/score.py around it.

    Raises ``UsageError`` where there is nothing of the kind, ``TableError`` for other tables.
    """
    if not storage.exists(uri):
        raise UsageError(f"{uri}: no such folder; give the crops folder that jobs/preprocess.py wrote")
    folder = uri
    if storage.is_folder(join(uri, "face_scores")):
        folder = join(uri, "face_scores")
    files = list_part_files(folder, storage) if storage.is_folder(folder) else [folder]
    kind = _tell_kind(files[0], storage)
    more = _SCORE_COLUMNS if kind == "face_scores" else [c for c in facts.COLUMNS if c not in _KEY_COLUMNS]
    columns = [*_KEY_COLUMNS, *more]
    table = index_rows(files, kind, columns, storage)
    table = table.take(pc.sort_indices(table, [(name, "ascending") for name in KEY])).combine_chunks()
    require_distinct(table, folder)
    videos = read_output_manifest(uri, storage, _VIDEO_COLUMNS)
    return LabelledFaces(kind, folder, tuple(files), table, read_record(uri, storage) or {}, videos=videos)


def label_videos(faces: LabelledFaces, uri: str, storage: Storage) -> LabelledFaces:
    """The faces with the labels that a file, read by ``catalog.manifest.read_labels``, has of their videos.

    Videos that it calls unsure have none then; those that it does not name keep theirs. Raises ``UsageError``
    where it names none of them.
    """
    labels = read_labels(uri, storage)

    def put(table: pa.Table) -> pa.Table:
        place = pc.index_in(table["video_id"], labels["video_id"].combine_chunks())
        named, told = pc.is_valid(place), labels["label"].combine_chunks().take(place)
        method = pc.if_else(pc.equal(told, FAKE), "fake", pc.if_else(pc.equal(told, REAL), "real", None))
        same = pc.fill_null(pc.equal(told, table["label"]), False)
        for name, new, kept in (
            ("label", told, pc.invert(named)),
            ("method", method, pc.or_(same, pc.invert(named))),
        ):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.field(at), pc.if_else(kept, table[name], new))
        return table

    if not pc.any(pc.is_in(faces.table["video_id"], labels["video_id"].combine_chunks())).as_py():
        raise UsageError(
            f"{uri}: names no video of {faces.uri}; its column video_id is to be that of the scores"
        )
    log.info("%s: labels of %d videos", uri, labels.num_rows)
    videos = None if faces.videos is None else put(faces.videos)
    return replace(faces, table=put(faces.table), videos=videos)


def select_split(faces: LabelledFaces, split: str, limit: int | None = None) -> LabelledFaces:
    """The labelled rows of one split (``all``: of every split), of the first ``limit`` videos.

    Raises ``UsageError`` that lists the splits with their counts where the split is absent or lacks a class.
    """
    table = faces.table
    if split != ALL and _has_no_split(table):
        log.info("%s: no row has a split, so all are taken", faces.uri)
        split = ALL
    if split == ALL:
        column = table.schema.get_field_index("split")
        everything = pa.array([ALL], pa.string()).take(pa.array(np.zeros(len(table), np.int32)))
        counted = table.set_column(column, "split", everything)
    else:
        counted = table
        table = table.filter(pc.equal(table["split"], split))
    try:
        require_both_classes(counted, split)
    except UsageError as error:
        hint = "" if split == ALL else "; choose with --evaluation.split, where all takes every row"
        raise UsageError(f"{faces.uri}: {error}{hint}") from None
    labelled = table.filter(pc.is_valid(table["label"]))
    if limit is not None:
        first = pc.unique(labelled["video_id"])[:limit]
        labelled = labelled.filter(pc.is_in(labelled["video_id"], first))
    unlabelled = len(table) - pc.count(table["label"]).as_py()
    if unlabelled:
        log.warning("%s: %d faces of split %s have no label and are left out", faces.uri, unlabelled, split)
    return replace(faces, table=labelled.combine_chunks(), unlabelled=unlabelled)


def _has_no_split(table: pa.Table) -> bool:
    """Whether rows of a scored archive are taken whole."""
    return len(table) > 0 and table["split"].null_count == len(table)


def list_without_faces(faces: LabelledFaces, split: str) -> pa.Table | None:
    """Labelled videos of a split that have no row, because no face was found in them; None: not known."""
    if faces.videos is None:
        return None
    looked_at = pc.not_equal(faces.videos["status"], tables.Status.SKIPPED_DUPLICATE)
    videos = faces.videos.filter(pc.and_(pc.is_valid(faces.videos["label"]), looked_at))
    if split != ALL and not _has_no_split(faces.table):
        videos = videos.filter(pc.equal(videos["split"], split))
    return videos.filter(pc.invert(pc.is_in(videos["video_id"], pc.unique(faces.table["video_id"]))))


def _tell_kind(uri: str, storage: Storage) -> Literal["crops", "face_scores"]:
    with tables.open_table(storage, uri, None) as file:
        names = set(file.schema_arrow.names)
    if "crop" in names:
        return "crops"
    if "score" in names and "frame_index" in names:
        return "face_scores"
    raise UsageError(
        f"{uri}: neither crops nor face scores (columns {', '.join(sorted(names)[:6])}, ...); give the "
        "crops folder of jobs/preprocess.py, or the output of jobs/score.py on labelled videos"
    )
