"""Which videos exist and what is known of them, as one table with a row for each.

``load_catalog`` reads a FaceForensics++ tree, any folder or bucket, one file, or a manifest, and gives each
video a split. It looks at names and tables only: whether a file can be decoded is found out later.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog import manifest, splits
from deepfake.catalog.frame_folders import gather_frames
from deepfake.catalog.layouts import ffpp, folders, registry
from deepfake.catalog.media import count_extensions, is_footage, is_unread, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.config import SPLITS, CatalogConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage
from deepfake.io.uri import make_absolute, make_readable, split_uri

log = logging.getLogger(__name__)

_NOTES = b"left_out"  # key of the table's metadata

FILTERS = {"datasets": "dataset", "methods": "method", "compressions": "compression"}


def load_catalog(
    uri: str, config: CatalogConfig, storage: Storage, invent: bool = True, without: Sequence[str] = ()
) -> pa.Table:
    """The catalog of ``uri``: the table ``catalog``, sorted by ``video_id``, which is unique.

    Splits are assigned before filters apply, so that a video is in the same split whatever else is kept.
    Without ``invent`` what nothing says of a video stays null: a split, and who is seen. It is as if the
    videos named in ``without`` were not there.
    Raises ``UsageError`` saying what was looked for and what was found.
    """
    notes: dict[str, str] = {}
    uri = storage.find_spelling(uri)
    if config.layout == "manifest" or (config.layout == "auto" and manifest.is_manifest(uri, storage)):
        table = manifest.read_manifest(uri, storage, config.groups)
    else:
        table = _list_videos(uri, config, storage, notes)
    table = table.sort_by("video_id")
    _require_unique(uri, table)
    if without:
        table = table.filter(pc.invert(pc.is_in(table["video_id"], pa.array(without, pa.string()))))
    table = splits.assign_splits(table, config, storage, deal=invent)
    table = _apply_filters(uri, table if invent else _drop_file_names(table), config)
    _log_counts(uri, table)
    if notes:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTES: json.dumps(notes)})
    return table


def _drop_file_names(table: pa.Table) -> pa.Table:
    """The table without persons who are only a file's own name."""
    plain = pc.replace_substring_regex(table["video_id"], r"\.[A-Za-z0-9]+$", "")
    made_up = pc.or_(pc.equal(table["target_id"], plain), pc.equal(table["target_id"], table["video_id"]))
    known = pc.if_else(pc.fill_null(made_up, False), None, table["target_id"])
    place = table.schema.get_field_index("target_id")
    return table.set_column(place, table.schema.field(place), known)


def read_notes(catalog: pa.Table) -> dict[str, str]:
    """What a catalog leaves out of the folder that it lists, in words by what it is."""
    notes: dict[str, str] = json.loads((catalog.schema.metadata or {}).get(_NOTES, b"{}"))
    return notes


def _list_videos(uri: str, config: CatalogConfig, storage: Storage, notes: dict[str, str]) -> pa.Table:
    """The videos, unsorted; ``notes`` gets what is left out."""
    files, root, root_name = _list_files(uri, config, storage, notes)
    footage = sorted((f for f in files if is_footage(f.path)), key=lambda info: (info.path, info.uri))
    if not footage:
        raise UsageError(_explain_nothing(uri, files, notes))
    if len(footage) < len(files) and (unread := [info.path for info in files if is_unread(info.path)]):
        words = "%s: %d files that may be or hold pictures or videos are not read: %s; the first is %s"
        log.warning(words, uri, len(unread), count_extensions(unread), unread[0])
        notes["not_read"] = f"{len(unread)} files: {count_extensions(unread)}"
    footage = gather_frames(footage, config.frame_folders, root_name)
    known = registry.describe_known(config.layout, FolderListing(files, footage, root, storage))
    if config.layout in registry.LAYOUTS and not known:
        raise UsageError(
            f"{uri}: not laid out as {config.layout}: looked for {registry.LOOKED_FOR[config.layout]}; "
            f"found {_give_examples(footage)}; --catalog.layout folders takes files as they are"
        )
    if config.layout in ("auto", "ffpp"):
        footage = _leave_out_rest(uri, footage, known, root, config)
    return _make_layout_table(uri, footage, known, root_name, config)


def _make_layout_table(
    uri: str, footage: list[FileInfo], known: Mapping[str, Provenance], root_name: str, config: CatalogConfig
) -> pa.Table:
    """Clips that a layout knows, and other footage by its folders' names."""
    others = [info for info in footage if info.path not in known]
    if known and others:
        words = "%s: %d files are taken by their folders' names, such as %s"
        log.info(words, uri, len(others), others[0].path)
    frames = config.frame_folders != "never"
    named = iter(folders.describe_by_folders(others, root_name, alone=not known, frames=frames))
    rows = [known.get(info.path) or next(named) for info in footage]
    stated = sorted({name for row in rows for name in row.groups or ()})
    if absent := [name for name in config.groups if name not in stated]:
        words = f"its layout states {', '.join(stated)}" if stated else "its layout states no such labels"
        raise UsageError(
            f"{root_name}: catalog.groups {', '.join(absent)}: {words}; a manifest may have any column"
        )
    return _make_table(footage, rows, config.groups)


def _leave_out_rest(
    uri: str, footage: list[FileInfo], known: Mapping[str, Provenance], root: str, config: CatalogConfig
) -> list[FileInfo]:
    """Less what lies in FaceForensics++'s tree and is no clip: masks and models, and others with a warning.

    Where that layout is asked for, less all else too.
    """
    rest = [info for info in footage if info.path not in known]
    if config.layout != "ffpp":
        rest = [info for info in rest if ffpp.IN_TREE.search(f"{root}/{info.path}")]
    told = [info for info in rest if not ffpp.BESIDE_FOOTAGE.search(f"{root}/{info.path}")]
    if told:
        words = "%s: left out %d files that are no FaceForensics++ clips, such as %s"
        log.warning(words, uri, len(told), told[0].path)
    left_out = {info.path for info in rest}
    if len(left_out) == len(footage):
        raise UsageError(f"{uri}: looked for {registry.LOOKED_FOR['ffpp']}; found {_give_examples(footage)}")
    return [info for info in footage if info.path not in left_out]


def _list_files(
    uri: str, config: CatalogConfig, storage: Storage, notes: dict[str, str]
) -> tuple[list[FileInfo], str, str]:
    """The files below a folder, its path and its name; or the one file, its folder's path and no name."""
    path = make_readable(split_uri(uri)[1]).rstrip("/")
    if storage.is_folder(uri):
        archive = storage.list_archive(uri, config.follow_links)
        if archive.is_empty:
            raise UsageError(f"{uri}: looked for videos; the folder is empty")
        if archive.left_out:
            words = "%s: %d links lead out of it, such as %s, and are not followed; "
            words += "--catalog.follow_links true follows them"
            log.warning(words, uri, len(archive.left_out), archive.left_out[0])
            notes["links_left_out"] = f"{len(archive.left_out)}, such as {archive.left_out[0]}"
        return archive.files, path, PurePosixPath(path).name
    if not storage.exists(uri):
        hint = "; folders are separated by /, not by \\" if "\\" in uri else ""
        raise UsageError(f"{uri}: looked for a folder, a video or a manifest; there is nothing{hint}")
    info = storage.get_info(uri)
    name = make_readable(info.path)
    if not is_footage(name):
        raise UsageError(
            f"{uri}: neither a video nor an image nor a manifest (.csv, .parquet), going by its name; "
            "a manifest may list files of any name"
        )
    return [FileInfo(name, make_absolute(uri), info.size, info.modified)], path.rpartition("/")[0], ""


def _make_table(files: Sequence[FileInfo], known: Sequence[Provenance], groups: Sequence[str]) -> pa.Table:
    columns = {
        "video_id": _make_distinct([info.path for info in files]),
        "uri": [info.uri for info in files],
        "size_bytes": [info.size for info in files],
        "modified": [info.modified for info in files],
        **{name: [getattr(row, name) for row in known] for name in Provenance.__dataclass_fields__},
        "groups": [_dump_groups(row.groups or {}, groups) for row in known],
    }
    return pa.table(columns, schema=tables.make_schema("catalog"))


def _dump_groups(stated: Mapping[str, str], wanted: Sequence[str]) -> str | None:
    kept = {name: stated[name] for name in wanted if stated.get(name)}
    return json.dumps(kept, ensure_ascii=False) if kept else None


def _make_distinct(names: list[str]) -> list[str]:
    """Two file names that differ only in bytes that are no Unicode can read alike; the later get a number."""
    if len(set(names)) == len(names):
        return names
    taken = set(names)
    seen: set[str] = set()
    result = []
    for name in names:
        new, number = name, 1
        while new in seen or (new != name and new in taken):
            number += 1
            new = f"{remove_extension(name)}~{number}{PurePosixPath(name).suffix}"
        seen.add(new)
        result.append(new)
    return result


def _require_unique(uri: str, table: pa.Table) -> None:
    for name in ("video_id", "uri"):
        ordered = table[name] if name == "video_id" else table[name].take(pc.sort_indices(table[name]))
        repeated = pc.equal(ordered[1:], ordered[:-1])
        first = pc.index(repeated, True).as_py()
        if first >= 0:
            raise UsageError(
                f"{uri}: {ordered[first].as_py()} is listed more than once ({pc.sum(repeated).as_py()} "
                "rows too many); each video may have one row"
            )


def _apply_filters(uri: str, table: pa.Table, config: CatalogConfig) -> pa.Table:
    """Rows that all filters keep. Originals are no manipulation: a filter of methods keeps them."""
    kept = table
    for option, column in FILTERS.items():
        wanted = getattr(config, option)
        if wanted is None:
            continue
        if column == "compression":
            wanted = [ffpp.normalise_compression(value) for value in wanted]
        present = tables.count_values(table[column].drop_null())
        absent = sorted(set(wanted) - set(present))
        if len(absent) == len(set(wanted)):
            known = ", ".join(f"{value} ({count})" for value, count in sorted(present.items()))
            words = f"catalog.{option} {wanted} keeps no video; there are: {known or 'none known'}"
            raise UsageError(f"{uri}: {words}")
        if absent:
            log.warning("%s: no video has catalog.%s %s", uri, option, ", ".join(absent))
        mask = pc.is_in(kept[column], pa.array(wanted, pa.string()))
        if column == "method":
            mask = pc.or_(mask, pc.fill_null(pc.equal(kept["label"], REAL), False))
        kept = kept.filter(mask)
    if kept.num_rows == 0:
        chosen = {option: wanted for option in FILTERS if (wanted := getattr(config, option)) is not None}
        raise UsageError(f"{uri}: no video passes all of the catalog filters {chosen} together")
    return kept


def _explain_nothing(uri: str, files: Sequence[FileInfo], notes: Mapping[str, str]) -> str:
    if not files:
        links = f"; links that lead out of it: {notes['links_left_out']}" if notes else ""
        words = "there are no files below this folder that may be read and are not hidden"
        return f"{uri}: looked for videos; {words}{links}"
    hint = ""
    if any(info.path.lower().endswith(manifest.EXTENSIONS) for info in files):
        hint = "; a manifest (.csv, .parquet) is given as the input itself, a folder of Parquet files with "
        hint += "--catalog.layout manifest"
    return (
        f"{uri}: looked for videos and images (.mp4, .mov, .mkv, .avi, .jpg, .png, ...); "
        f"found {len(files)} files: {count_extensions(info.path for info in files)}{hint}"
    )


def _give_examples(files: Sequence[FileInfo]) -> str:
    return f"{len(files)} files: {count_extensions(info.path for info in files)}, such as {files[0].path}"


def _log_counts(uri: str, table: pa.Table) -> None:
    labels, in_splits = tables.count_values(table["label"]), tables.count_values(table["split"])
    spread = ", ".join(f"{name} {in_splits[name]}" for name in SPLITS if name in in_splits) or "none"
    classes = [labels[label] for label in (REAL, FAKE, None)]
    words = "%s: %d videos, %d real, %d fake, %d unlabelled; splits: %s"
    log.info(words, uri, len(table), *classes, spread)
