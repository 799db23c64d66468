"""What is to be checked: the videos of a crops folder or of a catalog, with all that is known of them.

No pixels are read here; that crops agree with their manifest is known before any are. A crops folder is one
that has, or is going to have, a ``_manifest.parquet``; everything else is a catalog.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.load import load_catalog
from deepfake.config import CatalogConfig, LeakcheckJobConfig
from deepfake.crops.dataset import KEY, index_rows, require_distinct
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.run_record import parse_section, read_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join

_FOR_CROPS = {"splits_dir"}  # catalog keys that mean something for a crops folder


@dataclass(frozen=True)
class LeakcheckInput:
    """The videos to check, and the files that hold their crops."""

    kind: Literal["crops", "catalog"]
    uri: str
    videos: pa.Table  # table videos, sorted by video_id; of a catalog only its own columns are not null
    files: tuple[str, ...] = ()  # of a crops folder: URIs of its Parquet files
    splits_dir: str | None = None  # of a crops folder: that of its preprocessing, if it is still there


def load_input(config: LeakcheckJobConfig, storage: Storage) -> LeakcheckInput:
    """What is to be checked; ``UsageError`` where that is nothing, ``TableError`` for other tables."""
    uri = config.input
    kind: Literal["crops", "catalog"]
    if _is_crops(uri, storage):
        _require_no_catalog_options(config.catalog)
        kind, files = "crops", list_part_files(uri, storage)
        videos = tables.read_table(storage, join(uri, "_manifest.parquet"), "videos").replace_schema_metadata(
            None
        )
        videos = videos.sort_by("video_id")
    else:
        kind, files = "catalog", []
        videos = _make_videos_table(load_catalog(uri, config.catalog, storage))
    videos = videos.slice(0, config.limit).combine_chunks()
    if not videos.num_rows:
        raise UsageError(f"{uri}: there are no videos to check")
    if kind == "crops":
        _require_agreement(uri, files, videos, storage)
        return LeakcheckInput(kind, uri, videos, tuple(files), _find_splits_dir(uri, storage))
    return LeakcheckInput(kind, uri, videos)


def _find_splits_dir(uri: str, storage: Storage) -> str | None:
    """Where the preprocessing that made these crops read its splits, as it says itself."""
    catalog = parse_section(read_record(uri, storage) or {}, "catalog", CatalogConfig)
    if catalog is None or catalog.splits_dir is None or not storage.is_folder(catalog.splits_dir):
        return None
    return catalog.splits_dir


def select_used_videos(videos: pa.Table) -> pa.Table:
    """The videos whose crops are there: copies that preprocess left out cannot leak."""
    skipped = pc.equal(videos["status"], tables.Status.SKIPPED_DUPLICATE)
    return videos.filter(pc.invert(pc.fill_null(skipped, False)))


def _is_crops(uri: str, storage: Storage) -> bool:
    return storage.is_folder(uri) and any(
        storage.exists(join(uri, name)) for name in ("_manifest.parquet", "_work")
    )


def _require_agreement(uri: str, files: Sequence[str], videos: pa.Table, storage: Storage) -> None:
    """Training goes by the crops' own split and label; the manifest must say the same, of each crop once."""
    names = ["video_id", "split", "label"]
    crops = index_rows(files, "crops", [*KEY, "split", "label"], storage)
    require_distinct(crops, uri)
    of_videos = {row["video_id"]: row for row in videos.select(names).to_pylist()}
    for row in crops.select(names).group_by(names).aggregate([]).to_pylist():
        manifest = of_videos.get(row["video_id"], row)  # a limit takes some of the videos
        if row != manifest:
            raise UsageError(
                f"{uri}: the crops of {row['video_id']} are of split {row['split']} and label "
                f"{row['label']}, _manifest.parquet says {manifest['split']} and {manifest['label']}; "
                "run jobs/preprocess.py again"
            )


def _require_no_catalog_options(config: CatalogConfig) -> None:
    default = CatalogConfig()
    told = sorted(config.model_fields_set - _FOR_CROPS)
    if changed := [name for name in told if getattr(config, name) != getattr(default, name)]:
        raise UsageError(
            f"catalog.{changed[0]}: the crops of jobs/preprocess.py carry their splits and labels; "
            "this key is for inputs that are catalogs"
        )


def _make_videos_table(listed: pa.Table) -> pa.Table:
    schema = tables.SCHEMAS["videos"]
    columns = [
        listed[field.name].combine_chunks().cast(field.type)
        if field.name in listed.column_names
        else pa.nulls(listed.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, names=schema.names)
