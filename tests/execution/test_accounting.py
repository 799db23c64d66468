"""What a job's time went into: workers' stages are all of their time, and a video's are counted once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.config import DetectorConfig, PreprocessJobConfig, RayConfig, SamplingConfig
from deepfake.execution import accounting, pools, runner
from deepfake.execution.accounting import open_ledger
from deepfake.io.storage import Storage
from deepfake.outcome import ACCOUNTING, describe_accounting, get_clock
from deepfake.pipelines.preprocess.pipeline import PreprocessJob
from tests.clips import write_clip

BLOCKS = [pa.table({"n": [i]}) for i in range(6)]


class Sleeper:
    """A worker that works as long as it is told to, and says when it began."""

    def __init__(self) -> None:
        self._began = time.time()
        time.sleep(0.2)
        self._start = time.time() - self._began

    def __call__(self, block: pa.Table) -> pa.Table:
        asked = time.time()
        with get_clock().on("decode"):
            time.sleep(0.2)
            slept = time.time() - asked
        get_clock().count(videos=1)
        return pa.table({"began": [self._began], "start": [self._start], "slept": [slept]})


def answer_twice(block: pa.Table) -> Iterator[pa.Table]:
    for _ in range(2):
        asked = time.time()
        with get_clock().on("read"):
            time.sleep(0.1)
            slept = time.time() - asked
        yield pa.table({"slept": [slept]})


def total(seconds: dict[str, float]) -> float:
    return sum(value for name, value in seconds.items() if name not in ("worker", "cpus"))


@pytest.mark.usefixtures("ray_session")
def test_each_worker_of_ray_accounts_for_all_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = open_ledger()
    ended, take = 0.0, ledger.take_all

    def note_when(*arguments: bool) -> None:
        nonlocal ended
        ended = time.time()
        take(*arguments)

    monkeypatch.setattr(ledger, "take_all", note_when)  # after it the job is busy with other things
    workers = pools.await_workers(RayConfig(), 2)
    answers = pa.concat_tables(runner.run_on_workers(BLOCKS, Sleeper, {}, workers))
    found = ledger.summarize()
    lived = sorted(ended - began for began in set(answers["began"].to_pylist()))
    assert sorted(total(one) for one in found["workers"]) == pytest.approx(lived, rel=0.03)
    assert found["videos"] == 6
    spent = found["worker_seconds"]
    assert spent["decode"] == pytest.approx(sum(answers["slept"].to_pylist()), rel=0.03)
    assert spent["start"] == pytest.approx(sum(set(answers["start"].to_pylist())), rel=0.03)
    assert found["core_hours"] == pytest.approx(sum(lived) / 3600, rel=0.03)


@pytest.mark.usefixtures("ray_session")
def test_tasks_of_several_rounds_are_counted_once_each() -> None:
    ledger = open_ledger()
    slept = 0.0
    for _ in range(2):
        answers = pa.concat_tables(runner.run_tasks(BLOCKS[:2], answer_twice, {}, RayConfig(workers=2)))
        slept += sum(answers["slept"].to_pylist())
    assert ledger.summarize()["worker_seconds"]["read"] == pytest.approx(slept, rel=0.03)


def test_work_in_the_job_s_own_process_is_told_apart_from_the_job() -> None:
    ledger = open_ledger()
    with ledger.job.on("work"):
        workers = pools.Workers(1, 1, "this process")
        answers = pa.concat_tables(runner.run_on_workers(BLOCKS[:2], Sleeper, {}, workers))
    found = ledger.summarize(price_core_hour=3600)
    assert total(found["worker_seconds"]) == pytest.approx(found["job_seconds"]["work"], rel=0.03)
    slept = sum(answers["slept"].to_pylist())
    assert found["worker_seconds"]["decode"] == pytest.approx(slept, rel=0.03)
    assert found["cost"] == pytest.approx(slept + answers["start"][0].as_py(), rel=0.03)


@pytest.mark.parametrize("isolate", [True, False])
def test_what_the_decoder_s_process_spends_is_counted_once(tmp_path: Path, isolate: bool) -> None:
    (tmp_path / "in").mkdir()
    for frames in (90, 91, 92):
        write_clip(tmp_path / "in" / f"{frames}.mp4", frames=frames)
    began = time.monotonic()
    done = PreprocessJob(
        PreprocessJobConfig(
            input=str(tmp_path / "in"), output=str(tmp_path / "out"), detector=DetectorConfig(name="haar"),
            sampling=SamplingConfig(isolate=isolate, every_n=5), ray=RayConfig(start="never"),
            price_core_hour=0.04,
        ),
        Storage(),
    ).run()  # fmt: skip
    wall = time.monotonic() - began
    found = done.summary[ACCOUNTING]
    assert total(found["job_seconds"]) == pytest.approx(wall, rel=0.03)
    assert total(found["worker_seconds"]) == pytest.approx(found["job_seconds"]["work"], rel=0.03)
    videos = pq.read_table(tmp_path / "out" / "_manifest.parquet").to_pylist()
    spent = found["worker_seconds"]
    for column, stages in {"decode": ("read", "decode"), "detect": ("detect",), "crop": ("crop",)}.items():
        rows = sum(video[f"{column}_seconds"] for video in videos)
        assert sum(spent[stage] for stage in stages) == pytest.approx(rows, rel=0.03, abs=0.002)
    assert ("isolate" in spent) == isolate
    sizes = sum(path.stat().st_size for path in (tmp_path / "in").iterdir())
    assert (found["videos"], found["bytes_read"]) == (3, sizes)
    seconds_of_work = total(spent) - spent["start"]
    shown = sum(video["duration_s"] for video in videos)
    price = 1000 * 0.04 * seconds_of_work / shown
    assert found["cost_of_1000_hours_of_video"] == pytest.approx(price, rel=0.01)
    lines = describe_accounting(found)
    assert "detect" in lines["worker's time"] and lines["videos a core-hour"]


def test_loaders_are_told_apart_from_workers_and_these_may_hold_no_cpu_either() -> None:
    ledger = open_ledger()
    ledger.get_worker("card", 0.0).add({"score": 2.0}, {"crops": 7.0})
    ledger.get_worker("loader", 0.0, loads=True).add({"decode": 3.0}, {})
    found = ledger.summarize()
    assert (found["worker_seconds"], found["loader_seconds"]) == ({"score": 2.0}, {"decode": 3.0})
    assert found["crops"] == 7


def test_a_process_without_ray_has_nobody_to_leave_its_account_with() -> None:
    get_clock().count(videos=3)
    accounting.leave_account()
    _, counts = get_clock().take()
    assert counts["videos"] == 3
