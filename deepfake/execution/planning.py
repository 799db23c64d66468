"""What a run has to do: the catalog, less what an earlier run has done, less copies of the same bytes.

The same for preprocess and score. Ray is used only to hash files that may be copies.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog import duplicates, originals
from deepfake.catalog.load import load_catalog
from deepfake.config import PreprocessJobConfig, ScoreJobConfig, hash_json
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import get_extractor
from deepfake.errors import UsageError
from deepfake.execution import pools, runner, session
from deepfake.execution.output import Output
from deepfake.execution.process import count_cpus
from deepfake.execution.unit_worker import read_unit_id
from deepfake.execution.work_units import Todo, Unit, group_rows, plan_units
from deepfake.io import tables
from deepfake.progress import Progress
from deepfake.video.sampling import spread_evenly

log = logging.getLogger(__name__)

# Files are hashed in blocks of a few seconds. Rough rates of one core, which only decide the blocks' sizes.
HASH_SECONDS, FILE_SECONDS, HASH_BYTES_PER_SECOND = 4.0, 0.015, 500e6
# What is asked of the manifest of an earlier run, which may be long.
EARLIER = [
    "video_id", "uri", "size_bytes", "modified", "status", "retry", "gone", "duplicate_of", "content_sha256",
    *tables.PROVENANCE_COLUMNS,
]  # fmt: skip
PROBES = 3  # videos that --dry-run works through to tell how long the rest will take


def list_videos(config: PreprocessJobConfig | ScoreJobConfig, output: Output) -> pa.Table:
    """The catalog of the job's input, as far as ``--limit`` goes."""
    if config.remove_gone and config.limit is not None:
        raise UsageError("--remove-gone compares with the whole input: leave out --limit")
    invent = not isinstance(config, ScoreJobConfig)  # an archive is no data set: it is not dealt out
    found = load_catalog(config.input, config.catalog, output.storage, invent)
    if config.detector is not None and config.detector.boxes == "from_original":
        found = originals.attach_originals(found)
    return found if config.limit is None else found.slice(0, config.limit)


def choose_units(
    videos: pa.Table, config: PreprocessJobConfig | ScoreJobConfig, output: Output, identity: str,
    most: int | None = None,
) -> Todo:  # fmt: skip
    """The units to work through, of at most so many videos. ``identity`` names what decides the rows.

    Needs a Ray session where the work is not small.
    """
    earlier = output.read_finished_videos(EARLIER)
    kept = select_still_done(videos, earlier, config.retry_failed)
    if earlier is not None and kept is not None:
        relabelled = tables.select_relabelled(earlier, videos)["video_id"].combine_chunks()
        words = (
            "%d videos have another label, split or person than when the output was made, the first is %s; "
        )
        _warn_of(words + "their rows get it", relabelled)
        if config.detector is not None and config.detector.boxes == "from_original":
            kept = kept.filter(pc.invert(pc.is_in(kept["video_id"], relabelled)))
    rest = drop_videos(videos, kept).slice(0, most)
    gone = leaving = None
    if earlier is not None:
        _warn_of("%d files have changed since the output was made, the first is %s; they are done again",
                 list_changed(videos, earlier))  # fmt: skip
        if config.limit is None:
            gone = drop_videos(earlier, videos)["video_id"].combine_chunks()
        if config.remove_gone:
            leaving = gone
            _warn_of("%d videos are no longer in the input and are removed, the first is %s", leaving)
    copies = tables.from_rows("videos", [])
    if config.catalog.dedupe:
        hashes = _hash_files(duplicates.list_suspects(rest, kept), config, output)
        if earlier is not None and kept is not None and gone is not None:
            if leaving is None:
                leaving = _list_moved(earlier, gone, rest, hashes)
                _warn_of("%d files were moved or renamed, the first was %s; their old rows leave", leaving)
            if len(leaving):
                stand_for = pc.coalesce(kept["duplicate_of"], kept["video_id"])
                kept = kept.filter(pc.invert(pc.is_in(stand_for, leaving)))
                rest = drop_videos(videos, kept).slice(0, most)
                hashes = _hash_files(duplicates.list_suspects(rest, kept), config, output)
        rest, copies = duplicates.separate_duplicates(rest, kept, hashes)
        if copies.num_rows:
            log.info("%d videos are copies of others and are left out", copies.num_rows)
    if gone is not None:
        gone = gone if leaving is None else gone.filter(pc.invert(pc.is_in(gone, leaving)))
        _warn_of(
            "%d videos of this output are no longer in the input, the first is %s; their rows stay without "
            "--remove-gone", gone
        )  # fmt: skip
    names = [identity, *copies["video_id"].to_pylist()]
    return Todo(plan_units(rest, identity), copies, hash_json(names)[:16], earlier, gone, videos, leaving)


def _list_moved(
    earlier: pa.Table, gone: pa.Array, new: pa.Table, hashes: Mapping[str, str | None]
) -> pa.Array:
    """Ids of the ``gone`` videos of an earlier run whose bytes lie under a new name."""
    new_hashes = pa.array(
        [hashes[name] for name in new["video_id"].to_pylist() if hashes.get(name)], pa.string()
    )
    lost = earlier.filter(pc.is_in(earlier["video_id"], gone))
    return lost["video_id"].filter(pc.is_in(lost["content_sha256"], new_hashes)).combine_chunks()


def select_missing(videos: pa.Table, earlier: pa.Table | None, retry_failed: bool = False) -> pa.Table:
    """Catalog rows that an earlier finished run has not done, or whose files have changed since."""
    return drop_videos(videos, select_still_done(videos, earlier, retry_failed))


def drop_videos(videos: pa.Table, done: pa.Table | None) -> pa.Table:
    """The rows whose videos are not in another table."""
    if done is None:
        return videos
    return videos.filter(pc.invert(pc.is_in(videos["video_id"], done["video_id"])))


def _warn_of(words: str, video_ids: pa.Array) -> None:
    """Warn of some videos, where there are any; ``words`` have a place for their number and for the first."""
    if len(video_ids):
        log.warning(words, len(video_ids), video_ids[0])


def select_still_done(videos: pa.Table, earlier: pa.Table | None, retry_failed: bool) -> pa.Table | None:
    """The rows of an earlier finished run that are as a run of today would make them.

    Those of files of another size or modification time are not, nor are copies of such files. Those that
    failed are not where that may be the machine's fault, or all with ``retry_failed``.
    """
    if earlier is None:
        return None
    again = pc.is_in(earlier["status"], pa.array(sorted(tables.FAILURES), pa.string()))
    if not retry_failed:
        again = pc.and_(again, pc.fill_null(earlier["retry"], False))
    earlier = earlier.filter(pc.invert(again))
    changed = list_changed(videos, earlier)
    stale = pc.or_(pc.is_in(earlier["video_id"], changed), pc.is_in(earlier["duplicate_of"], changed))
    return earlier.filter(pc.invert(stale))


def list_changed(videos: pa.Table, earlier: pa.Table) -> pa.Array:
    """Ids of videos whose file is of another size or modification time than when an earlier run saw it."""
    place = pc.index_in(earlier["video_id"], videos["video_id"])
    differ = [  # null where the video is gone, or one of the two is not known
        pc.fill_null(pc.not_equal(earlier[name], videos[name].take(place)), False)
        for name in ("size_bytes", "modified")
    ]
    return earlier["video_id"].filter(pc.or_(*differ)).combine_chunks()


def describe_plan(
    videos: pa.Table, config: PreprocessJobConfig | ScoreJobConfig, output: Output, identity: str
) -> dict[str, Any]:
    """What a run would do, for ``--dry-run``; how long, from working through a few videos here."""
    rest = select_missing(videos, output.read_finished_videos(EARLIER), config.retry_failed)
    waiting = output.select_waiting(plan_units(rest, identity))
    workers = count_workers(config, len(waiting))
    seconds = _estimate_core_seconds(waiting, config, output)
    times = [f"{seconds / count:.0f} s on {count} cores" for count in sorted({workers.now, workers.most})]
    return {
        "videos": videos.num_rows,
        "bytes": pc.sum(videos["size_bytes"]).as_py() or 0,
        "by_label": dict(Counter(str(value) for value in videos["label"].to_pylist())),
        "by_split": dict(Counter(str(value) for value in videos["split"].to_pylist())),
        "videos_done": videos.num_rows - sum(unit.rows.num_rows for unit in waiting),
        "videos_to_do": sum(unit.rows.num_rows for unit in waiting),
        "units_to_do": len(waiting),
        "workers": str(workers),
        "extraction_would_take": f"about {', '.join(times)}, by {PROBES} videos tried",
        "output": output.root,
    }


def count_workers(config: PreprocessJobConfig | ScoreJobConfig, units: int) -> pools.Workers:
    """Workers that a run would have, for ``--dry-run``; joins a cluster to ask for its CPUs."""
    if not session.joins_a_cluster(config.ray):
        return pools.plan_workers(config.ray, units, config.ray.num_cpus or count_cpus())
    with session.open_session(config.ray):
        return pools.plan_in_session(config.ray, units)


def _estimate_core_seconds(
    waiting: list[Unit], config: PreprocessJobConfig | ScoreJobConfig, output: Output
) -> float:
    """The plan's own estimate, scaled by what a few videos of typical cost really take."""
    if not waiting or config.detector is None or config.crop is None:
        return 0.0
    ordered = sorted(waiting, key=lambda unit: unit.seconds)
    extraction = ExtractConfig(config.sampling, config.detector, config.crop)
    extractor = get_extractor(extraction, output.storage)
    tried = estimated = 0.0
    for unit in (ordered[i] for i in spread_evenly(len(ordered), PROBES)):
        started = time.perf_counter()
        extractor.extract(unit.rows.slice(0, 1).to_pylist()[0])
        tried += time.perf_counter() - started
        estimated += unit.seconds / unit.rows.num_rows
    return sum(unit.seconds for unit in waiting) * tried / estimated


def _hash_files(
    rows: pa.Table, config: PreprocessJobConfig | ScoreJobConfig, output: Output
) -> dict[str, str | None]:
    """Content hashes by video_id of the files that ``duplicates.list_suspects`` names.

    They are kept as units are, so that a job started again reads only what it had not read.
    """
    seconds = FILE_SECONDS + rows["size_bytes"].to_numpy() / HASH_BYTES_PER_SECOND
    blocks = group_rows(rows, seconds, HASH_SECONDS, "hashes")
    done = output.list_staged_units("hashes")
    waiting = [block for block in blocks if block.unit_id not in done]
    if waiting:
        files = sum(block.rows.num_rows for block in waiting)
        log.info("%d files are read to find copies among them", files)
        hashed = runner.run_tasks(
            [runner.make_block(unit) for unit in waiting],
            _hash_block,
            {"output": output, "patience": config.sampling.timeout_seconds},
            config.ray,
        )
        with Progress("files read", files) as progress:
            for batch in hashed:
                progress.step(sum(batch["files"].to_pylist()))
    found = output.read_units("hashes", [block.unit_id for block in blocks])
    return dict(zip(found["video_id"].to_pylist(), found["content_sha256"].to_pylist(), strict=True))


def _hash_block(block: pa.Table, output: Output, patience: float) -> pa.Table:
    """Hash the files of one block and keep the hashes; how many files there were."""
    hashes = duplicates.hash_rows(block, output.storage, patience)
    output.write_unit(read_unit_id(block), {"hashes": hashes})
    return pa.table({"files": [block.num_rows]})
