"""Reads a catalog from a table that somebody wrote: a CSV or Parquet file, or Spark's folder of the latter.

Columns, by any of these names, in any order; all but the first are optional and others are ignored:

- ``video_id``, ``path``, ``uri``, ``url``, ``filename`` or ``file``: relative to the manifest's folder,
  absolute, or a URI; with ``\\`` between folders where Windows wrote it, in any Unicode form
- ``label``, ``is_fake`` or ``class``: 0, real, original or false; 1, fake, deepfake or true; empty or unknown
  where it is not known
- ``method`` or ``generator``, ``compression``, ``dataset``, ``size_bytes``
- any that ``catalog.groups`` names, whose groups ``evaluate`` compares
- ``split``: train, val or test; it wins over any other split but that of ``assign_splits``
- ``target_id``, ``subject`` or ``identity`` (who is seen), and ``source_id``; 515.0, as pandas writes a whole
  number beside gaps, is 515, and 071 is 71 where both stand there; nan, none, n/a and the like are no id

Values of a CSV file stand between commas, semicolons or tabs. Blanks around them are no part of them, but in
a path whose column's name has none around it.

The files themselves are neither listed nor opened, and columns are handled whole: a manifest may have ten
million rows.
"""

import json
import logging
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from deepfake.catalog.layouts.folders import SPLIT_FOLDERS
from deepfake.catalog.provenance import FAKE, REAL
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import SCHEMES, join, make_absolute, split_uri

log = logging.getLogger(__name__)

EXTENSIONS = (".csv", ".parquet")
SPARK_MARK = "_SUCCESS"  # what Spark leaves in a folder that it has finished

LOCATION = ("uri", "path", "url", "filename", "file", "video_id")
ALIASES: dict[str, tuple[str, ...]] = {
    "video_id": ("video_id",),
    "location": LOCATION,
    "label": ("label", "is_fake", "class"),
    "method": ("method", "generator"),
    "compression": ("compression",),
    "split": ("split",),
    "dataset": ("dataset",),
    "target_id": ("target_id", "subject", "identity"),
    "source_id": ("source_id",),
    "size_bytes": ("size_bytes",),
}
NOTHING = ("", "unknown", "none", "null", "nan", "<na>", "n/a", "#n/a", "-")  # what stands for no value
LABELS: dict[str, int | None] = {
    **dict.fromkeys(("0", "0.0", "real", "original", "genuine", "pristine", "false"), REAL),
    **dict.fromkeys(("1", "1.0", "fake", "deepfake", "manipulated", "true"), FAKE),
    **dict.fromkeys(NOTHING, None),
}
SPLIT_NAMES: dict[str, str | None] = {**SPLIT_FOLDERS, **dict.fromkeys(NOTHING, None)}

LONGEST_GROUP = 200  # letters of what a video is grouped by
MOST_NAMED = 500  # letters of a file's columns that a message lists
_GROUP = "group "  # before the name of such a column
LONGEST = 4096  # letters of a path, an id or any other text, as of Linux' paths
_PACKED = (b"PK\x03\x04", b"\x1f\x8b")  # ZIP, of which Excel's workbooks are some, and gzip
_TRIED = 100  # names that are not all ASCII, of which one must be absent before all are looked for
_SCHEME = r"^[A-Za-z][A-Za-z0-9+.\-]*://"


def is_manifest(uri: str, storage: Storage) -> bool:
    """Whether the URI ends as a manifest's does, or is a folder of Parquet files as Spark writes it."""
    if not storage.is_folder(uri):
        return uri.lower().endswith(EXTENSIONS)
    named = uri.rstrip("/").lower().endswith(".parquet") or storage.exists(join(uri, SPARK_MARK))
    return named and _holds_parquet(uri, storage)


def read_manifest(uri: str, storage: Storage, groups: Sequence[str] = ()) -> pa.Table:
    """The manifest as a catalog table, unsorted, with ``group_id`` null; raises ``UsageError``.

    ``groups`` are columns of its own that go into the column of that name.
    """
    raw = _read_columns(uri, storage, groups)
    rows = raw.num_rows
    folder = make_absolute(uri).rpartition("/")[0]
    given = raw["video_id"]  # a name, unless it says where the video is
    if given.equals(raw["location"]):
        given = _replace_backslashes(given)
    path = _resolve_locations(uri, _read_windows_paths(uri, raw["location"]))
    video_id = _make_video_ids(uri, given, path, folder)
    label = _map_values(
        uri, "label", raw["label"], LABELS, pa.int8(), "0, 1, real, fake, or empty where unknown"
    )
    is_real, is_fake = (pc.fill_null(pc.equal(label, value), False) for value in (REAL, FAKE))
    method = pc.if_else(is_fake, pc.coalesce(raw["method"], pa.scalar("fake")), raw["method"])
    own_name = pc.replace_substring_regex(video_id, r"([^/])\.[^./]+$", r"\1")
    target, source = _spell_numbers_alike(uri, (pc.coalesce(raw["target_id"], own_name), raw["source_id"]))
    values = {
        "video_id": video_id,
        "uri": _find_spellings(_make_uris(path, folder), storage),
        "size_bytes": _cast_sizes(uri, raw["size_bytes"]),
        "modified": pa.nulls(rows, pa.timestamp("us", tz="UTC")),
        "dataset": pc.coalesce(raw["dataset"], pa.scalar(PurePosixPath(folder).name)),
        "label": label,
        "method": pc.if_else(is_real, pa.scalar("real"), method),
        "compression": pc.if_else(pc.equal(raw["compression"], "c0"), pa.scalar("raw"), raw["compression"]),
        "split": _map_values(uri, "split", raw["split"], SPLIT_NAMES, pa.string(), "train, val or test"),
        "target_id": target,
        "source_id": source,
        "group_id": pa.nulls(rows, pa.string()),
        "groups": _join_groups(uri, raw, groups),
    }
    return pa.table(values, schema=tables.make_schema("catalog"))


def read_labels(uri: str, storage: Storage) -> pa.Table:
    """``video_id`` and ``label``, 0, 1 or null (unsure), of a CSV file, such as a review of a page of scores.

    Rows without a label are left out. ``UsageError`` where it is none, or names a video twice.
    """
    with _reading(uri, "labels"):
        chosen, raw = _read_csv(uri, storage, ())
    if absent := {"video_id", "label"} - chosen.keys():
        raise UsageError(f"{uri}: no column {', '.join(sorted(absent))}; labels are rows of video_id,label")
    raw = raw.filter(pc.not_equal(pc.utf8_trim_whitespace(raw[chosen["label"]]), ""))
    meaning = {**LABELS, "unsure": None}
    label = _map_values(uri, "label", raw[chosen["label"]], meaning, pa.int8(), "real, fake, unsure or empty")
    names = tables.unquote_formulas(raw[chosen["video_id"]])
    if len(pc.unique(names)) < len(names):
        raise UsageError(f"{uri}: names a video twice; leave one row of each")
    return pa.table({"video_id": names, "label": label})


def _join_groups(uri: str, raw: pa.Table, groups: Sequence[str]) -> pa.ChunkedArray | pa.Array:
    """What is stated of each video, as JSON by name; null where nothing is."""
    if not groups:
        return pa.nulls(raw.num_rows, pa.string())
    parts = []
    for name in groups:
        column = raw[_GROUP + name]
        values = pc.unique(column)
        if (longest := pc.max(pc.utf8_length(values)).as_py() or 0) > LONGEST_GROUP:
            raise UsageError(
                f"{uri}: column {name!r} of catalog.groups has a value of {longest} letters; a group's name "
                f"has at most {LONGEST_GROUP}"
            )
        pairs = [
            "" if value is None else ", " + json.dumps({name: value}, ensure_ascii=False)[1:-1]
            for value in values.to_pylist()
        ]
        parts.append(pc.take(pa.array(pairs, pa.string()), pc.index_in(column, values)))
    joined = pc.binary_join_element_wise(*parts, "")
    whole = pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(joined, 2), "}", "")
    return pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), whole)


def _read_columns(uri: str, storage: Storage, groups: Sequence[str]) -> pa.Table:
    """The columns we know, as strings under our names; what is empty or absent is null."""
    with _reading(uri):
        if storage.is_folder(uri):
            chosen, table = _read_folder(uri, storage, groups)
        elif uri.lower().endswith(".parquet"):
            with tables.open_table(storage, uri, None) as parquet:
                chosen = _choose_columns(uri, parquet.schema_arrow.names, groups)
                table = parquet.read(columns=sorted(set(chosen.values())))
        else:
            chosen, table = _read_csv(uri, storage, groups)
    if table.num_rows == 0:
        raise UsageError(f"{uri}: the manifest has no rows")
    nothing = pa.nulls(table.num_rows, pa.string())
    found = {name: _cast_to_text(uri, name, column, table[column]) for name, column in chosen.items()}
    names = [*ALIASES, *(_GROUP + name for name in groups)]
    return pa.table({name: found.get(name, nothing) for name in names})


@contextmanager
def _reading(uri: str, what: str = "a manifest") -> Iterator[None]:
    """A block that reads a table that somebody wrote, with what goes wrong put in words."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{uri}: looked for {what}, one .csv or .parquet file; there is none") from None
    except tables.TableError as error:
        raise UsageError(f"{error}; it cannot be read as {what}") from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        more = "; save it as UTF-8" if "utf8" in str(error).lower().replace("-", "") else ""
        raise UsageError(f"{uri}: cannot be read as {what}: {str(error)[:500]}{more}") from None
    except UsageError:
        raise
    except OSError as error:
        if split_uri(uri)[0] != "file":
            raise
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"{uri}: cannot be read as {what} ({words})") from None


def _read_folder(uri: str, storage: Storage, groups: Sequence[str]) -> tuple[dict[str, str], pa.Table]:
    """Our name -> column, and the table, of a folder of Parquet files, perhaps in ``label=1/`` and so on."""
    if not (files := _list_parquet(uri, storage)):
        raise UsageError(f"{uri}: looked for a manifest; there are no Parquet files in this folder")
    filesystem, path = storage.get_arrow_filesystem(uri)
    from pyarrow.dataset import dataset  # here, for it imports pandas

    parts = dataset(
        [f"{path}/{name}" for name in files], filesystem=filesystem, format="parquet",
        partitioning="hive", partition_base_dir=path,
    )  # fmt: skip
    chosen = _choose_columns(uri, parts.schema.names, groups)
    wanted = sorted(set(chosen.values()))
    for name in files:
        with tables.open_table(storage, join(uri, name), None) as file:
            file.require_bounded(range(file.num_row_groups), wanted)
    return chosen, parts.to_table(columns=wanted)


def _read_csv(uri: str, storage: Storage, groups: Sequence[str]) -> tuple[dict[str, str], pa.Table]:
    """Our name -> column, and the table, of a CSV file, all of it text."""
    with storage.open(uri) as file:
        separator = _find_separator(uri, file.read(2**16))
        if file.seek(0, os.SEEK_END) > storage.config.max_table_mb * 2**20:
            raise UsageError(f"{uri}: larger than storage.max_table_mb {storage.config.max_table_mb}")
    parse = pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    with storage.open(uri) as file, pyarrow.csv.open_csv(file, parse_options=parse) as reader:
        names = reader.schema.names
    chosen = _choose_columns(uri, names, groups)
    as_text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        include_columns=sorted(set(chosen.values())),
        strings_can_be_null=False,
    )
    with storage.open(uri) as file:
        return chosen, pyarrow.csv.read_csv(file, parse_options=parse, convert_options=as_text)


def _holds_parquet(uri: str, storage: Storage) -> bool:
    return bool(_list_parquet(uri, storage))


def _list_parquet(uri: str, storage: Storage) -> list[str]:
    """Paths below a folder, but of what Spark hides; only of regular files: a pipe would be read for ever."""
    names = [info.path for info in storage.list_files(uri) if info.path.lower().endswith(".parquet")]
    return [name for name in names if not any(part.startswith(("_", ".")) for part in name.split("/"))]


def _find_separator(uri: str, start: bytes) -> str:
    """What separates the columns of a CSV file that begins so; ``UsageError`` where it is no UTF-8."""
    if start.startswith(_PACKED):
        raise UsageError(f'{uri}: is packed, or an Excel workbook; unpack it, or save it as "CSV UTF-8"')
    if b"\0" in start or start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f'{uri}: is in UTF-16 (Excel\'s "Unicode text"); save it as "CSV UTF-8"')
    header = start.splitlines()[0].decode(errors="replace") if start else ""
    return max(",;\t", key=header.count)


def _choose_columns(uri: str, names: Sequence[str], groups: Sequence[str]) -> dict[str, str]:
    """Our name -> the manifest's column."""
    known: dict[str, str] = {}
    for name in names:
        known.setdefault(name.strip().lower(), name)
    chosen = {
        ours: next(known[alias] for alias in aliases if alias in known)
        for ours, aliases in ALIASES.items()
        if any(alias in known for alias in aliases)
    }
    if "location" not in chosen:
        raise UsageError(
            f"{uri}: no column says where the videos are; looked for {', '.join(LOCATION)}; "
            f"found {_list_some(names) or 'no columns'}"
        )
    if absent := [name for name in groups if name.strip().lower() not in known]:
        raise UsageError(
            f"{uri}: catalog.groups {', '.join(absent)}: no such column; found {_list_some(names)}"
        )
    chosen |= {_GROUP + name: known[name.strip().lower()] for name in groups}
    if ignored := [name for name in names if name not in chosen.values()]:
        log.info("%s: columns that are not used: %s", uri, _list_some(ignored))
    return chosen


def _list_some(names: Sequence[str]) -> str:
    """Columns by name, of which a file may have as many and as long ones as it likes."""
    text = ", ".join(names[:100])
    return text if len(text) <= MOST_NAMED and len(names) <= 100 else f"{text[:MOST_NAMED]}, ..."


def _cast_to_text(uri: str, ours: str, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    try:
        column = column.cast(pa.string())
    except pa.ArrowException as error:
        raise UsageError(f"{uri}: column {name!r} is {column.type}, expected text: {error}") from None
    long = pc.fill_null(pc.greater(pc.utf8_length(column), LONGEST), False)
    if pc.any(long).as_py():
        what = "path" if ours == "location" else name[:MOST_NAMED]
        raise UsageError(f"{uri}: row {_find_first(long)}: a {what} of more than {LONGEST} letters")
    if ours not in ("location", "video_id") or name != name.strip():
        column = pc.utf8_trim_whitespace(column)
    if ours in ("target_id", "source_id"):
        column = pc.replace_substring_regex(column, r"^(\d+)\.0+$", r"\1")
    nothing = NOTHING if ours not in ("location", "video_id") else ("",)
    is_nothing = pc.is_in(pc.utf8_lower(column), pa.array(nothing, pa.string()))
    return pc.if_else(is_nothing, pa.scalar(None, pa.string()), column)


def _spell_numbers_alike(uri: str, columns: Sequence[pa.ChunkedArray]) -> list[pa.ChunkedArray]:
    """Ids that are numbers, with as many zeros before in one column as in another.

    Of FaceForensics++'s 071, pandas makes 71 where a column has gaps.
    """
    chunks = [chunk for column in columns for chunk in column.chunks]
    spelled = pc.unique(pa.chunked_array(chunks, pa.string()))
    spelled = spelled.filter(pc.fill_null(pc.match_substring_regex(spelled, r"^\d{1,18}$"), False))
    plain = pc.replace_substring_regex(spelled, r"^0+(\d)", r"\1")
    if pc.count_distinct(plain).as_py() == len(plain):
        return list(columns)
    longest = {int(text): text for text in sorted(spelled.to_pylist(), key=len)}
    other = [text for text in spelled.to_pylist() if longest[int(text)] != text]
    words = "%s: %d ids are also written with zeros before them, such as %s and %s; they are the same"
    log.warning(words, uri, len(other), other[0], longest[int(other[0])])
    meant = pa.array([longest[int(text)] for text in other], pa.string())
    places = [pc.index_in(column, pa.array(other, pa.string())).combine_chunks() for column in columns]
    return [pc.coalesce(meant.take(place), column) for place, column in zip(places, columns, strict=True)]


def _read_windows_paths(uri: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Relative paths with ``\\`` between folders, as Windows writes them, with ``/``."""
    drive = pc.fill_null(pc.match_substring_regex(column, r"^([A-Za-z]:[\\/]|\\\\)"), False)
    if pc.any(drive).as_py():
        row = _find_first(drive)
        raise UsageError(
            f"{uri}: row {row}: {column[row - 1].as_py()} is a path of a Windows machine; write paths "
            "relative to the manifest"
        )
    return _replace_backslashes(column)


def _replace_backslashes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Less those by which a name tells bytes that are no Unicode, as ``\\xff``."""
    is_windows = pc.match_substring_regex(column, r"^[^/]*\\[^/]*$")
    is_escaped = pc.match_substring_regex(column, r"^[^\\]*(\\x[0-9a-f]{2}[^\\]*)+$")
    change = pc.and_(is_windows, pc.invert(is_escaped))
    return pc.if_else(change, pc.replace_substring(column, "\\", "/"), column)


def _find_spellings(uris: pa.ChunkedArray, storage: Storage) -> pa.ChunkedArray:
    """URIs of local files as the files' own names are, where they were written in another Unicode form."""
    odd = pc.and_(
        pc.invert(pc.string_is_ascii(uris)),
        pc.invert(pc.match_substring_regex(uris, _SCHEME)),
    )
    written = uris.filter(odd).to_pylist()
    tried = {uri: storage.find_spelling(uri) for uri in written[:_TRIED]}
    if all(uri == found for uri, found in tried.items()):
        return uris
    found = [storage.find_spelling(uri) for uri in written]
    return pc.replace_with_mask(uris, odd.combine_chunks(), pa.array(found, pa.string()))


def _resolve_locations(uri: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Paths with ``.`` and ``..`` resolved where they are relative; URIs and absolute paths as they are."""
    if column.null_count:
        raise UsageError(f"{uri}: row {_find_first(pc.is_null(column))}: no path")
    secret = pc.match_substring_regex(column, r"^[A-Za-z][A-Za-z0-9+.\-]*://[^/]*@")
    if pc.any(secret).as_py():
        raise UsageError(
            f"{uri}: row {_find_first(secret)}: an address holds no password, which would be stored and "
            "shown; credentials come from the environment or ~/.aws"
        )
    has_scheme = pc.match_substring_regex(column, _SCHEME)
    if pc.any(has_scheme).as_py():
        schemes = pc.unique(pc.replace_substring_regex(column.filter(has_scheme), r"(?s)://.*", ""))
        if unknown := sorted(set(schemes.to_pylist()) - set(SCHEMES)):
            raise UsageError(
                f"{uri}: paths with the scheme {', '.join(unknown)}, which is not supported; use "
                "paths relative to the manifest, absolute paths, file:// or s3://"
            )
    is_relative = pc.invert(pc.or_(has_scheme, pc.starts_with(column, "/")))
    is_odd = pc.and_(is_relative, pc.match_substring_regex(column, r"(^|/)\.{0,2}(/|$)"))
    if not pc.any(is_odd).as_py():
        return column
    resolved = [posixpath.normpath(path) for path in column.filter(is_odd).to_pylist()]
    return pc.replace_with_mask(column, is_odd.combine_chunks(), pa.array(resolved, pa.string()))


def _make_uris(path: pa.ChunkedArray, folder: str) -> pa.ChunkedArray:
    is_whole = pc.match_substring_regex(path, rf"{_SCHEME}|^/")
    below = path
    if folder.startswith("file://"):  # a folder that is not valid Unicode: the URI's escapes go on to its end
        below = pa.chunked_array([pa.array([quote(p) for p in path.to_pylist()], pa.string())])
    return pc.if_else(is_whole, path, pc.binary_join_element_wise(folder, below, "/"))


def _make_video_ids(uri: str, given: pa.ChunkedArray, path: pa.ChunkedArray, folder: str) -> pa.ChunkedArray:
    if given.null_count < len(given):
        if given.null_count:
            raise UsageError(f"{uri}: row {_find_first(pc.is_null(given))}: no video_id")
        return given
    below = pc.utf8_slice_codeunits(path, len(folder) + 1)
    return pc.if_else(pc.starts_with(path, f"{folder}/"), below, path)


def _cast_sizes(uri: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise UsageError(f"{uri}: size_bytes must be whole numbers: {error}") from None


def _map_values(
    uri: str,
    name: str,
    column: pa.ChunkedArray,
    meaning: Mapping[str, int | str | None],
    kind: pa.DataType,
    expected: str,
) -> pa.ChunkedArray:
    """The column with each value replaced by its meaning; raises ``UsageError`` at one without."""
    values = pc.unique(column)
    meanings = []
    for value in values.to_pylist():
        word = (value or "").strip().lower()
        if word not in meaning:
            row = _find_first(pc.fill_null(pc.equal(column, value), False))
            raise UsageError(f"{uri}: row {row}: {name} is {value!r}, expected {expected}")
        meanings.append(meaning[word])
    return pc.take(pa.array(meanings, kind), pc.index_in(column, values))


def _find_first(mask: pa.ChunkedArray) -> int:
    """Number of the first row for which the mask holds, counted from 1 after the header."""
    return int(pc.index(mask, True).as_py()) + 1
