"""An output folder that grows unit by unit and is whole at the end.

While a job runs, each finished unit leaves one small Parquet file a table under ``_work/``; the last one
written marks the unit complete. When all are there they are joined, in the order of the plan, into files
of a sensible size, and the manifest is written. Everything is written whole or not at all and under names
that depend on the plan alone, so any step may be interrupted and done again.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake import __version__
from deepfake.errors import UsageError
from deepfake.execution.work_units import Unit
from deepfake.io import tables
from deepfake.io.parts import PARTS_KEY, list_part_files, read_output_manifest, read_part_names
from deepfake.io.run_record import read_record, write_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.outcome import get_clock

log = logging.getLogger(__name__)

READERS = 16  # small files read at once: on S3 each is mostly waiting
PART_BYTES = 256 * 2**20
EVERY_VIDEO = {"video_scores"}  # tables with a row for every video, even one without faces
OLDEST_SCORES = 6  # the schema since which rows of videos have a likelihood ratio
DOUBT = "_in_doubt"  # beside what is staged: a run stopped for a fault of this program
_PART_FILE = re.compile(r"part-\d{5,}\.parquet")
CROP_ROW_GROUP_ROWS = 64  # a training window reads a few row groups at a time
THUMBNAIL_ROW_GROUP_ROWS = 4096  # some 16 MB


@dataclass(frozen=True)
class Part:
    """One final file of one table, and the unit files it is joined from."""

    table: str
    uri: str
    sources: tuple[str, ...]
    size_bytes: int  # of those together


@dataclass(frozen=True)
class Output:
    """A job's output folder. ``folders`` maps each table to its sub-folder ('' is the folder itself).

    The table ``videos`` must be among them: its unit files mark a unit complete, and the joined one is
    ``_manifest.parquet``.
    """

    root: str
    storage: Storage
    config_sha256: str
    folders: Mapping[str, str]

    def claim(self, description: Mapping[str, Any]) -> None:
        """Make the folder this job's, or refuse one that holds rows of another configuration or input.

        ``description`` goes into ``_config.json``, which readers of the output use.
        """
        mine = {"config_sha256": self.config_sha256, "version": __version__, **description}
        found = read_record(self.root, self.storage)
        if found is not None:
            for key, what in (
                ("config_sha256", "configuration"),
                ("input", "input"),
                ("bundle_sha256", "bundle"),
            ):
                if found.get(key) != mine.get(key):
                    words = f"{found.get(key)}, this job has {mine.get(key)}"
                    if key == "config_sha256":
                        words = ", ".join(describe_changes(found, mine)) or words
                    raise UsageError(
                        f"{self.root}: holds rows of another {what} ({words}); give another --output, or "
                        "remove that folder first"
                    )
            if "video_scores" in self.folders and found.get("schema_version", 5) < OLDEST_SCORES:
                raise UsageError(
                    f"{self.root}: was made by an earlier version, whose rows have no likelihood ratio. Give "
                    "another --output, or, where it is finished, go on with what jobs/verdicts.py makes of "
                    "it, which decodes nothing"
                )
            return
        write_record(self.root, self.storage, mine)

    def read_finished_videos(self, columns: list[str] | None = None) -> pa.Table | None:
        """The manifest of an earlier, finished run; None where there is none."""
        return read_output_manifest(self.root, self.storage, columns)

    def list_finished_units(self) -> set[str]:
        """Ids of the units that are complete, from one listing."""
        return self.list_staged_units("videos")

    def select_waiting(self, units: Sequence[Unit]) -> list[Unit]:
        """Those units that are not complete."""
        finished = self.list_finished_units()
        return [unit for unit in units if unit.unit_id not in finished]

    def list_staged_units(self, name: str) -> set[str]:
        """Ids of the units that have left a file of a table."""
        uri = join(self.root, "_work", name)
        if not self.storage.is_folder(uri):
            return set()
        return {
            info.path.removesuffix(".parquet")
            for info in self.storage.list_files(uri)
            if info.path.endswith(".parquet") and not info.path.startswith(".")
        }

    def mark_doubt(self) -> None:
        """Let the next run do again what ended in a fault of this program, for which this one stops."""
        self.storage.write_text(join(self.root, "_work", DOUBT), "")

    def forget_faults(self) -> None:
        """Where a run stopped for a fault of this program, remove the units that have it: they wait again."""
        mark = join(self.root, "_work", DOUBT)
        if not self.storage.exists(mark):
            return
        for unit_id in self.list_finished_units():
            if tables.count_program_faults(self.read_units("videos", [unit_id])["status_detail"].to_pylist()):
                self.storage.remove(self.locate_unit("videos", unit_id))
        self.storage.remove(mark)

    def forget_strangers(self, planned: Mapping[str, pa.Table]) -> None:
        """Remove finished units that are not of the videos that the plan has them for: they wait again.

        ``planned`` has the units' catalog rows by their ids. What somebody put there would else be joined,
        and the videos be missing without a word.
        """

        def read(unit_id: str, name: str, column: str) -> list[str]:
            uri = self.locate_unit(name, unit_id)
            return tables.read_table(self.storage, uri, name, [column])[column].to_pylist()

        def is_of(unit_id: str) -> bool:
            wanted = planned[unit_id]["video_id"].to_pylist()
            try:
                for name in self.folders:
                    found = read(unit_id, name, "video_id")
                    if name == "videos" or name in EVERY_VIDEO:
                        fits = sorted(found) == sorted(wanted)
                    else:
                        fits = set(found) <= set(wanted)
                    if not fits:
                        return False
                # videos of the same names elsewhere are others
                return sorted(read(unit_id, "videos", "uri")) == sorted(planned[unit_id]["uri"].to_pylist())
            except (OSError, ValueError):  # no whole table
                return False

        with ThreadPoolExecutor(READERS) as pool:
            for unit_id, fits in zip(planned, list(pool.map(is_of, planned)), strict=True):
                if not fits:
                    log.warning(
                        "%s: not of this run's videos; they are done again",
                        self.locate_unit("videos", unit_id),
                    )
                    self.storage.remove(self.locate_unit("videos", unit_id))

    def write_unit(self, unit_id: str, unit_tables: Mapping[str, pa.Table]) -> None:
        """Write a unit's tables, all at once; ``videos``, which makes a unit complete, after the others.

        A bucket takes each of them in tens of milliseconds, in which the worker would only wait.
        """

        def write(name: str) -> None:
            tables.write_table(
                self.storage, self.locate_unit(name, unit_id), unit_tables[name], choose_row_group_rows(name)
            )

        for names in (unit_tables.keys() - {"videos"}, unit_tables.keys() & {"videos"}):
            if names:
                with get_clock().on("write"), ThreadPoolExecutor(len(names)) as pool:
                    list(pool.map(write, names))

    def read_units(self, name: str, unit_ids: Sequence[str]) -> pa.Table:
        """One table of all these units, in their order."""
        with ThreadPoolExecutor(READERS) as pool:
            uris = [self.locate_unit(name, unit_id) for unit_id in unit_ids]
            found = list(pool.map(lambda uri: tables.read_table(self.storage, uri, name), uris))
        return pa.concat_tables(found) if found else tables.from_rows(name, [], self.config_sha256)

    def read_all(self, name: str) -> pa.Table:
        """A whole table of the finished output, strings as dictionaries: see ``tables.decode_strings``."""
        files = list_part_files(self.root, self.storage, self.folders[name])
        found = [tables.read_encoded(self.storage, uri, name) for uri in files]
        return pa.concat_tables(found).unify_dictionaries().combine_chunks()

    def read_every_video(self, name: str) -> pa.Table:
        """``read_all`` of one of ``EVERY_VIDEO``; ``UsageError`` where it is not of the manifest's videos."""
        table, listed = self.read_all(name), self.read_finished_videos(["video_id"])
        assert listed is not None
        found, wanted = (
            ids.take(pc.sort_indices(ids))
            for ids in (one["video_id"].cast(pa.string()).combine_chunks() for one in (table, listed))
        )
        if not found.equals(wanted):
            raise UsageError(
                f"{join(self.root, self.folders[name])}: has not one row for each video of "
                "_manifest.parquet; somebody has changed one of them: put back what was there, or give "
                "another --output"
            )
        return table

    def read_rows_of(self, name: str, video_ids: pa.Array, columns: list[str] | None = None) -> pa.Table:
        """The rows of some videos in a table of the finished output, in its order.

        Of the rest of the table one row group at a time is in memory.
        """
        found = [tables.from_rows(name, []).select(columns or tables.list_columns(name))]
        for uri in list_part_files(self.root, self.storage, self.folders[name]):
            found += tables.read_rows_of_videos(self.storage, uri, name, video_ids, columns)
        return pa.concat_tables(found)

    def list_parts(self, name: str, unit_ids: Sequence[str]) -> list[Part]:
        """The final files of a table, each joined from consecutive units."""
        sizes = {info.path: info.size for info in self.storage.list_files(join(self.root, "_work", name))}
        first = self._next_part(name)  # what is not listed is rewritten
        groups: list[list[str]] = []
        filled: list[int] = []
        for unit_id in unit_ids:
            size = sizes[f"{unit_id}.parquet"]
            if not groups or filled[-1] + size > PART_BYTES:
                groups.append([])
                filled.append(0)
            groups[-1].append(self.locate_unit(name, unit_id))
            filled[-1] += size
        return [
            Part(name, join(self._folder(name), f"part-{first + i:05d}.parquet"), tuple(group), size)
            for i, (group, size) in enumerate(zip(groups, filled, strict=True))
        ]

    def join_part(self, part: Part, known: pa.Table | None = None) -> int:
        """Write one final file from its units; memory holds one unit at a time. Returns its rows.

        ``known`` has the provenance of videos that is another one by now: see ``tables.select_relabelled``.
        """
        rows = 0
        schema = tables.make_schema(part.table, self.config_sha256)
        with self.storage.writing(part.uri) as path, tables.open_writer(path, schema) as writer:
            for table in regroup(self._tables(part, known), choose_row_group_rows(part.table)):
                writer.write_table(table, row_group_size=choose_row_group_rows(part.table))
                rows += table.num_rows
        return rows

    def _tables(self, part: Part, known: pa.Table | None) -> Iterator[pa.Table]:
        for uri in part.sources:
            table = tables.read_table(self.storage, uri, part.table)
            yield table if known is None else tables.relabel(table, known)

    def rewrite(self, videos: pa.Table, known: pa.Table, parts: Sequence[Part]) -> dict[str, dict[str, str]]:
        """Write the files of an earlier run that have rows of ``videos``, rows of its manifest, without them.

        Files with rows of videos whose provenance is another one by now, ``known``, are rewritten as well.
        New file names by those of the files that they replace, by table; they come after the new ``parts``.
        """
        replaced: dict[str, dict[str, str]] = {}
        video_ids = videos["video_id"].combine_chunks()
        names = self.folders.keys() - {"videos"}
        if not known.num_rows and not pc.any(pc.greater(videos["faces"], 0)).as_py():
            names &= EVERY_VIDEO
        for name in sorted(names) if len(video_ids) or known.num_rows else ():
            labelled = known["video_id"] if "label" in tables.list_columns(name) else known["video_id"][:0]
            number = self._next_part(name) + sum(part.table == name for part in parts)
            for file in read_part_names(self.root, self.storage).get(name, []):
                uri = join(self._folder(name), file)
                there = tables.read_table(self.storage, uri, name, ["video_id"])["video_id"]
                theirs = pc.is_in(there, video_ids)
                if pc.any(pc.or_(theirs, pc.is_in(there, labelled.combine_chunks()))).as_py():
                    new = f"part-{number:05d}.parquet"
                    rest = tables.read_table(self.storage, uri, name).filter(pc.invert(theirs))
                    rest = tables.relabel(rest, known)
                    tables.write_table(
                        self.storage, join(self._folder(name), new), rest, choose_row_group_rows(name)
                    )
                    replaced.setdefault(name, {})[file] = new
                    number += 1
        return replaced

    def finish(
        self,
        videos: pa.Table,
        parts: Sequence[Part],
        replaced: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        """Write the manifest, which makes the output whole, and remove what was staged.

        ``videos`` has a row for every video of the output, those of earlier runs included. ``replaced`` is
        what ``rewrite`` answers.
        """
        before = read_part_names(self.root, self.storage)
        listed = {
            name: [replaced.get(name, {}).get(file, file) for file in files] for name, files in before.items()
        }
        for part in parts:
            listed.setdefault(part.table, []).append(part.uri.rsplit("/", 1)[-1])
        self._remove_strays({name: [*listed.get(name, []), *before.get(name, [])] for name in self.folders})
        metadata = dict(tables.make_schema("videos", self.config_sha256).metadata)
        metadata[PARTS_KEY] = json.dumps(listed).encode()
        tables.write_table(
            self.storage, join(self.root, "_manifest.parquet"), videos.replace_schema_metadata(metadata)
        )
        self.discard_staged()

    def discard_staged(self) -> None:
        """Remove what was staged and what was replaced; the files that the manifest lists hold it all."""
        self._remove_strays(read_part_names(self.root, self.storage))
        self.storage.remove(join(self.root, "_work"))

    def _next_part(self, name: str) -> int:
        """The number of the next final file of a table."""
        numbers = [int(file[5:-8]) for file in read_part_names(self.root, self.storage).get(name, [])]
        return max(numbers, default=-1) + 1

    def _remove_strays(self, listed: Mapping[str, Sequence[str]]) -> None:
        """Remove part files of an interrupted run that was to write more of them than this one did."""
        for name in self.folders:
            if name != "videos":
                for info in self.storage.list_files(self._folder(name)):
                    if _PART_FILE.fullmatch(info.path) and info.path not in listed.get(name, ()):
                        self.storage.remove(info.uri)

    def _folder(self, name: str) -> str:
        return join(self.root, self.folders[name]) if self.folders[name] else self.root

    def locate_unit(self, name: str, unit_id: str) -> str:
        """Where a unit's file of a table is staged."""
        return join(self.root, "_work", name, f"{unit_id}.parquet")


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any], most: int = 5) -> list[str]:
    """Which keys of two records' sections differ, in words, as ``sampling.every_n was 30, is 7``."""
    found = []
    for name, section in now.items():
        earlier = before.get(name)
        if isinstance(section, Mapping) and isinstance(earlier, Mapping):
            found += [
                f"{name}.{key} was {earlier.get(key)}, is {value}"
                for key, value in section.items()
                if earlier.get(key) != value
            ]
    return [*found[:most], *([f"and {len(found) - most} more"] if len(found) > most else [])]


def choose_row_group_rows(name: str) -> int:
    """Rows of a row group of table ``name``: few where they hold pictures."""
    columns = tables.SCHEMAS[name].names
    if "crop" in columns:
        return CROP_ROW_GROUP_ROWS
    return THUMBNAIL_ROW_GROUP_ROWS if "image" in columns else 65536


def regroup(source: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables whose lengths are multiples of ``rows``, the last excepted."""
    held: list[pa.Table] = []
    count = 0
    for table in source:
        held.append(table)
        count += table.num_rows
        if count >= rows:
            joined = pa.concat_tables(held)
            whole = count - count % rows
            yield joined.slice(0, whole)
            held, count = [joined.slice(whole)], count - whole
    if count:
        yield pa.concat_tables(held)
