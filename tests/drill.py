"""Break a cluster on purpose, in the middle of a job, and see what becomes of the job: ``make drill``.

python -m tests.drill [--times 5] [--only NAME ...]

A head without CPUs and two raylets on this machine, and for each line of the table so many rounds: the job is
submitted, the fault happens in the middle of its work, and what the job leaves is compared with what an
undisturbed run leaves. The table goes to docs/faults.md by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd

from tests import running
from tests.cluster.local_cluster import LocalCluster, Node, StillRunning, finished
from tests.processes import descendants
from tests.running import ROOT

ON_DRIVER = ("--entrypoint-resources", '{"driver": 1}')
WAIT_SECONDS = 240
NOTICE_SECONDS = 5  # between a drain and the loss of the node; clouds give from 30 to 120
FROZEN_SECONDS = 60  # Ray gives a node up that has not answered for half a minute
SLOWNESS = 10
SLICE_SECONDS = 0.02  # of each, a slow node works one and stands still for the others


@dataclass(frozen=True)
class Job:
    """A job as the drill submits it, and what of its output must be the same."""

    name: str
    options: Mapping[str, object]
    table: str  # in the output
    begun: str | None  # what lies in the output once a part of the work is done; None: it leaves no parts

    def command(self, output: Path) -> list[str]:
        command = ["python", f"jobs/{self.name.split()[0]}.py"]
        return [*command, *running.flags({**self.options, "output": output})]

    def rows(self, output: Path) -> pd.DataFrame:
        """The rows that must be the same: all but what tells of time."""
        table = pd.read_parquet(output / self.table)
        return table[[name for name in table.columns if not name.endswith("_seconds")]]


class Drill:
    """What all lines share: the data, a bundle, and the rows of undisturbed runs of their jobs."""

    def __init__(self, folder: Path, wanted: set[str]) -> None:
        from deepfake.pipelines.demo import make_dataset
        from tests.small_bundle import save_untrained
        from tests.small_network import make_small_model

        self.folder = folder
        made = make_dataset(
            folder / "data", identities_per_split=2, fakes_per_identity=1, seconds=2.0, fps=30
        )
        save_untrained(str(folder / "model"))
        model = make_small_model()
        archive = {"input": made.root, "detector.name": "haar", "sampling.every_n": 4}  # time for a fault
        crops = {"input": folder / "undisturbed-preprocess"}
        units = "_work/videos/*.parquet"
        jobs = [
            Job("preprocess", {**archive, "catalog.splits_dir": made.root / "splits"}, "", units),
            Job("score", {**archive, "bundle": folder / "model"}, "video_scores", units),
            Job(
                "train",
                {**crops, "model.backbone": model.backbone, "model.weights": model.weights,
                 "training.epochs": 4, "training.workers": 2,
                 "training.global_batch": 8, "training.fine_tune": "none"},
                "history.parquet", "_checkpoints/**/state.json",
            ),
            Job(
                "evaluate",
                {**crops, "bundle": folder / "model", "evaluation.split": "train",
                 "evaluation.allow_overlap": "true", "evaluation.robustness": "true",
                 "evaluation.bootstrap": 20},
                "face_scores", None,
            ),
        ]  # fmt: skip
        three = {**jobs[2].options, "training.workers": 3, "training.global_batch": 9}
        jobs.append(replace(jobs[2], name="train of three", options=three))
        self.jobs = {job.name: job for job in jobs}
        wanted = wanted | {"preprocess"}  # whose crops the others take
        self.expected = {job.name: job.rows(self.undisturbed(job)) for job in jobs if job.name in wanted}

    def undisturbed(self, job: Job) -> Path:
        """The output of a run without a cluster."""
        output = self.folder / f"undisturbed-{job.name.replace(' ', '-')}"
        words = [sys.executable, *job.command(output)[1:], "--ray.num_cpus", "2"]
        running.run(words, ROOT)
        return output

    def same(self, job: Job, output: Path) -> bool:
        """Whether an output is as that of an undisturbed run; scores may differ by rounding."""
        mine, expected = job.rows(output), self.expected[job.name]
        if list(mine.columns) != list(expected.columns) or len(mine) != len(expected):
            return False
        for name in mine.columns:
            if mine[name].dtype.kind == "f":
                if not np.allclose(mine[name], expected[name], rtol=1e-4, atol=1e-5, equal_nan=True):
                    return False
            elif not mine[name].equals(expected[name]):
                return False
        return True


@dataclass
class Round:
    """One round of one line: a job on a cluster, and where its output goes."""

    drill: Drill
    job: Job
    output: Path
    cluster: LocalCluster

    def submit(self, options: Sequence[str] = ON_DRIVER) -> subprocess.Popen[str]:
        return self.cluster.submit(*self.job.command(self.output), working_dir=ROOT, options=options)

    def submitted(self) -> tuple[subprocess.Popen[str], bool]:
        """The job in the middle of its work, and whether it is that."""
        submitted = self.submit()
        give_up = time.monotonic() + WAIT_SECONDS
        while submitted.poll() is None and time.monotonic() < give_up:
            if self._is_at_work():
                return submitted, True
            time.sleep(0.02)
        return submitted, False

    def _is_at_work(self) -> bool:
        if self.job.begun is not None:
            return next(self.output.glob(self.job.begun), None) is not None
        actors: Any = self.cluster.ask("/api/v0/actors?detail=1&limit=1000")
        return any(
            "MapWorker" in actor["class_name"] and actor["state"] == "ALIVE"
            for actor in actors["data"]["result"]["result"]
        )

    def again(self) -> tuple[int, str]:
        """The same command once more; as soon as the first one's process lets go of the output."""
        give_up = time.monotonic() + WAIT_SECONDS
        while True:
            status, text = finished(self.submit())
            if "another job is writing this output" not in text or time.monotonic() > give_up:
                return status, text

    def undisturbed_verdict(self) -> str:
        """What becomes of it where nothing happens meanwhile."""
        return self.judge(finished(self.submit()))

    def judge(self, ended: tuple[int, str], in_time: bool = True) -> str:
        """What became of it, in few words."""
        status, text = ended
        if not in_time:
            return "not run: the job ended before the fault"
        if status:
            sys.stderr.write(f"{self.job.name}:\n{text}\n")
            return f"ended with {status}: " + text.strip().splitlines()[-1][:80]
        return "same rows" if self.drill.same(self.job, self.output) else "OTHER ROWS"


@contextmanager
def three_nodes(more: Mapping[str, str] | None = None) -> Iterator[LocalCluster]:
    with LocalCluster({"TF_CPP_MIN_LOG_LEVEL": "2", **(more or {})}) as cluster:
        whole(cluster)
        yield cluster


def whole(cluster: LocalCluster) -> None:
    """Start what is missing of a driver's node ``a`` and another node ``b``.

    Ray gives a node half a minute to start, which a machine that stops another cluster meanwhile may miss:
    it is started once more.
    """
    wanted: dict[str, dict[str, float]] = {"a": {"driver": 1.0}, "b": {}}
    for last in (False, True):
        for name, resources in wanted.items():
            if name not in cluster.nodes or cluster.nodes[name].process.poll() is not None:
                cluster.start_raylet(name, 1, resources)
        try:
            cluster.wait_for([cluster.nodes[name] for name in wanted])
            return
        except RuntimeError as error:
            if last:
                raise
            sys.stderr.write(f"once more: {error}\n")


def lose_a_node(one: Round) -> str:
    """The raylet that does not hold the job's own process goes, with all its workers."""
    job, in_time = one.submitted()
    one.cluster.nodes["b"].kill()
    if one.job.name == "train":  # of as many workers as were asked for: it waits for another node
        whole(one.cluster)
    return one.judge(finished(job), in_time)


def drain_a_node(one: Round) -> str:
    """A node is told that it will go, as a spot instance is; then it goes."""
    job, in_time = one.submitted()
    drain(one.cluster, "b")
    time.sleep(NOTICE_SECONDS)
    one.cluster.nodes["b"].kill()
    return one.judge(finished(job), in_time)


def drain(cluster: LocalCluster, name: str) -> None:
    """Give Ray notice that a node will go."""
    nodes: Any = cluster.ask("/api/v0/nodes?detail=1")
    (node_id,) = [
        node["node_id"]
        for node in nodes["data"]["result"]["result"]
        if node["state"] == "ALIVE" and name in node["resources_total"]
    ]
    status, text = finished(
        cluster.command(
            "drain-node", "--address", cluster.address, "--node-id", node_id,
            "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the drill",
            "--deadline-remaining-seconds", str(NOTICE_SECONDS),
        )
    )  # fmt: skip
    if status:
        raise RuntimeError(text)


def slow_a_node(one: Round) -> str:
    """All processes of a node stand still for nine tenths of the time, until the job ends."""
    job, in_time = one.submitted()
    with slowed(one.cluster.nodes["b"]):
        ended = finished(job, 2 * WAIT_SECONDS)
    return one.judge(ended, in_time)


@contextmanager
def slowed(node: Node) -> Iterator[None]:
    """A node ``SLOWNESS`` times slower."""
    over = threading.Event()

    def signal_all(signum: signal.Signals) -> None:
        for pid in descendants(node.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def work() -> None:
        while not over.is_set():
            signal_all(signal.SIGSTOP)
            over.wait(SLICE_SECONDS * (SLOWNESS - 1))
            signal_all(signal.SIGCONT)
            over.wait(SLICE_SECONDS)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def lose_the_driver(one: Round) -> str:
    """The node of the job's own process goes; the same command, on what is there, goes on."""
    job, in_time = one.submitted()
    one.cluster.nodes["a"].kill()
    first, _ = finished(job)
    whole(one.cluster)
    return f"ended with {first}; again: " + one.judge(one.again(), in_time)


def lose_the_head(one: Round) -> str:
    """The head goes, and with it the cluster; the same command on a new one goes on."""
    job, in_time = one.submitted()
    one.cluster.nodes["head"].kill()
    first, _ = finished(job)
    with three_nodes() as another:
        again = Round(one.drill, one.job, one.output, another)
        return f"ended with {first}; again: " + again.judge(again.again(), in_time)


def freeze_a_node(one: Round) -> str:
    """All processes of a node stand still until Ray has given it up; then they go on."""
    job, in_time = one.submitted()
    frozen = [*running.descendants(one.cluster.nodes["b"].process.pid)]
    for signum, seconds in ((signal.SIGSTOP, FROZEN_SECONDS), (signal.SIGCONT, 0)):
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signum)
        time.sleep(seconds)
    one.cluster.nodes["b"].kill()  # a node that was given up is of no use any more
    whole(one.cluster)
    return one.judge(finished(job), in_time)


def restart_the_head(one: Round) -> str:
    """The head's process is started again at the same address; it knows nothing of what was."""
    job, in_time = one.submitted()
    one.cluster.nodes["head"].kill()
    one.cluster.start_head(same_ports=True)
    first, _ = finished(job)
    for name in ("a", "b"):
        one.cluster.nodes[name].kill()
    whole(one.cluster)
    return f"ended with {first}; again: " + one.judge(one.again(), in_time)


def lose_one_of_three_for_good(one: Round) -> str:
    """A training of three workers on three nodes goes on on the two that are left."""
    one.cluster.wait_for([one.cluster.start_raylet("c", 1)])
    job, in_time = one.submitted()
    one.cluster.nodes["c"].kill()
    return one.judge(finished(job), in_time)


def hide(*names: str) -> Callable[[Round], str]:
    """One node sees an empty folder in place of what is named."""

    def act(one: Round) -> str:
        folders = {
            "input": one.drill.folder / "data",
            "output": one.output,
            "package": Path(av.__file__).parent,
        }
        one.output.mkdir()
        one.cluster.nodes["b"].stop()
        hidden = [folders[name] for name in names]
        one.cluster.wait_for([one.cluster.start_raylet("b", 1, hidden=hidden)])
        try:
            return one.undisturbed_verdict()
        finally:
            one.cluster.nodes["b"].stop()

    return act


def send_it_twice(one: Round) -> str:
    """The same command again while the first one works."""
    job, in_time = one.submitted()
    second, text = finished(one.submit(options=()))  # the driver's node has room for one
    ended = job.poll() is not None
    refused = "not run: the first had ended before the second began" if ended else "BOTH WORK"
    if second and "another job is writing this output" in text:
        refused = "the second is refused"
    return f"{refused}; the first: " + one.judge(finished(job), in_time)


def forbid_home(one: Round) -> str:
    """A cluster in which no process may write into HOME."""
    with three_nodes({"HOME": "/proc"}) as another:
        return Round(one.drill, one.job, one.output, another).undisturbed_verdict()


def fill_the_spill(one: Round) -> str:
    """The disk that takes what Ray's object store spills is full, on the node that works."""
    one.cluster.nodes["b"].stop()
    spill = one.drill.folder / "spill"
    spill.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(spill)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        return "not run: a file system cannot be mounted here"
    config = json.dumps({"type": "filesystem", "params": {"directory_path": str(spill)}})
    try:
        environment = {"RAY_object_spilling_config": config}
        one.cluster.wait_for([one.cluster.start_raylet("b", 1, environment=environment)])
        return one.undisturbed_verdict()
    finally:
        one.cluster.nodes["b"].stop()
        subprocess.run(["umount", str(spill)], check=False)


def fill_the_disk(one: Round) -> str:
    """The output lies on a file system too small for it, which is then made larger."""
    one.output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(one.output)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        return "not run: a file system cannot be mounted here"
    try:
        first, text = finished(one.submit())
        said = "said why" if "no space is left there" in text else "did not say why"
        subprocess.run(["mount", "-o", "remount,size=200m", str(one.output)], check=True)
        return f"ended with {first}, {said}; again: " + one.judge(finished(one.submit()))
    finally:
        subprocess.run(["umount", str(one.output)], check=False)


def starve_the_object_store(one: Round) -> str:
    """Ray's least object store on every node."""
    return one.undisturbed_verdict()


FAULTS: dict[str, tuple[Callable[[Round], str], list[str]]] = {
    "a node is lost": (lose_a_node, ["preprocess", "score", "train", "evaluate"]),
    "a node is drained, then lost": (drain_a_node, ["preprocess", "score"]),
    "a node is ten times slower": (slow_a_node, ["preprocess", "score"]),
    "the driver's node is lost": (lose_the_driver, ["preprocess", "train"]),
    "the head is lost": (lose_the_head, ["preprocess", "score", "train"]),
    "the head is started again": (restart_the_head, ["preprocess"]),
    "a node stands still for a minute": (freeze_a_node, ["preprocess", "train"]),
    "one of three nodes is lost for good": (lose_one_of_three_for_good, ["train of three"]),
    "a node does not see the input": (hide("input"), ["preprocess", "score"]),
    "a node does not see the output": (hide("output"), ["preprocess", "score", "train", "evaluate"]),
    "a node lacks a package": (hide("package"), ["preprocess"]),
    "the command is sent twice": (send_it_twice, ["preprocess", "train"]),
    "HOME may not be written": (forbid_home, ["preprocess", "score", "train"]),
    "the disk that Ray spills to is full": (fill_the_spill, ["preprocess", "score"]),
    "the disk is full": (fill_the_disk, ["preprocess", "score"]),
    "80 MiB of object store": (starve_the_object_store, ["preprocess"]),
}
LINES = {
    f"{job}: {fault}": (job, act) for fault, (act, jobs) in FAULTS.items() for job in jobs
}  # in the order of the faults
ENDS_THE_CLUSTER = {lose_the_head}


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A temporary folder; what is mounted in it the nodes see too, each with a table of mounts of its own.

    Where nothing can be mounted it is a plain folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    bind = ["mount", "--bind", str(folder), str(folder)]
    bound = os.geteuid() == 0 and subprocess.run(bind, check=False, capture_output=True).returncode == 0
    try:
        if bound:
            subprocess.run(["mount", "--make-shared", str(folder)], check=True)
        yield folder
    finally:
        if bound:
            subprocess.run(["umount", "--recursive", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def rounds(drill: Drill, name: str, times: int) -> list[str]:
    """What became of each round of one line; they share a cluster, which is made whole before each."""
    job, act = LINES[name]
    outcomes: list[str] = []
    while len(outcomes) < times:
        with three_nodes() as cluster:
            for number in range(len(outcomes), 1 + len(outcomes) if act in ENDS_THE_CLUSTER else times):
                whole(cluster)
                output = drill.folder / f"{list(LINES).index(name)}-{number}"
                try:
                    outcomes.append(act(Round(drill, drill.jobs[job], output, cluster)))
                except StillRunning as error:  # and it still has that cluster
                    sys.stderr.write(f"{error}\n")
                    outcomes.append("still running after a long time")
                    break
                finally:
                    shutil.rmtree(output, ignore_errors=True)
    return outcomes


def main() -> None:
    """Run the lines and print a table of outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(LINES), choices=list(LINES), metavar="NAME")
    options = parser.parse_args()
    bad = 0
    with shared_folder() as folder:
        drill = Drill(folder, {LINES[name][0] for name in options.only})
        sys.stdout.write("| fault | outcome of each round |\n|---|---|\n")
        for name in options.only:
            outcomes = rounds(drill, name, options.times)
            bad += sum("same rows" not in outcome for outcome in outcomes)
            counted = [f"{outcomes.count(outcome)} x {outcome}" for outcome in dict.fromkeys(outcomes)]
            sys.stdout.write(f"| {name} | {'; '.join(counted)} |\n")
            sys.stdout.flush()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
