"""Break a cluster on purpose, in the middle of a job, and see what becomes of the job: ``make drill``.

python -m tests.drill [--times 5] [--only NAME ...]

A head without CPUs and two raylets on this machine, and for each line of the table so many rounds: the job is
submitted, the fault happens once a unit of work is finished, and what the job leaves is compared with what an
undisturbed run leaves. The table goes to docs/faults.md by hand.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from tests.cluster.local_cluster import LocalCluster, finished

ROOT = Path(__file__).resolve().parent.parent
ON_DRIVER = ("--entrypoint-resources", '{"driver": 1}')
WAIT_SECONDS = 240


class Drill:
    """What all lines share: the data, a bundle, and the rows of undisturbed runs."""

    def __init__(self, folder: Path) -> None:
        from deepfake import bundle, keras_runtime, model
        from deepfake.config import ModelConfig
        from deepfake.demo import make_dataset
        from deepfake.storage import Storage

        self.folder = folder
        made = make_dataset(
            folder / "data", identities_per_person=2, fakes_per_identity=1, seconds=2.0, fps=30
        )
        self.archive = made.root
        keras_runtime.start(seed=3)
        network = model.build(ModelConfig(weights="none"))
        bundle.save(str(folder / "model"), Storage(), network, threshold=0.5, threshold_rule="none")
        self.expected = {job: self.rows(job, self.plain(job)) for job in ("preprocess", "score")}

    def command(self, job: str, output: Path) -> list[str]:
        """The job as submitted; many frames, so that there is time for a fault."""
        common = ["--input", str(self.archive), "--output", str(output), "--detector.name", "haar"]
        own = {
            "preprocess": ["--catalog.splits_dir", str(self.archive / "splits")],
            "score": ["--bundle", str(self.folder / "model")],
        }[job]
        return ["python", f"jobs/{job}.py", *common, *own, "--sampling.every_n", "4"]

    def plain(self, job: str) -> Path:
        """The output of an undisturbed run without a cluster."""
        output = self.folder / f"undisturbed-{job}"
        command = [sys.executable, *self.command(job, output)[1:], "--ray.num_cpus", "2"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return output

    def rows(self, job: str, output: Path) -> pd.DataFrame:
        """The rows that must be the same."""
        table = pd.read_parquet(output if job == "preprocess" else output / "video_scores")
        kept = [name for name in table.columns if not name.endswith("_seconds")]
        return table[kept].reset_index(drop=True)

    def same(self, job: str, output: Path) -> bool:
        """Whether an output is as that of an undisturbed run."""
        return self.rows(job, output).equals(self.expected[job])

    def submit(self, cluster: LocalCluster, job: str, output: Path) -> subprocess.Popen[str]:
        return cluster.submit(*self.command(job, output), working_dir=ROOT, options=ON_DRIVER)


@contextmanager
def three_nodes(**options: int) -> Iterator[LocalCluster]:
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2"}
    with LocalCluster(environment, **options) as cluster:
        cluster.wait_for([cluster.start_raylet("a", 1, {"driver": 1}), cluster.start_raylet("b", 1)])
        yield cluster


def a_unit_is_done(job: subprocess.Popen[str], output: Path) -> bool:
    """Wait until a unit is finished; False where the job ends first."""
    give_up = time.monotonic() + WAIT_SECONDS
    while job.poll() is None and time.monotonic() < give_up:
        if list((output / "_work" / "videos").glob("*.parquet")):
            return True
        time.sleep(0.02)
    return False


def lose_a_node(drill: Drill, job: str, output: Path) -> str:
    """The raylet that does not hold the job's own process goes, with all its workers."""
    with three_nodes() as cluster:
        running = drill.submit(cluster, job, output)
        in_time = a_unit_is_done(running, output)
        cluster.nodes["b"].kill()
        status, text = finished(running)
    return verdict(drill, job, output, status, text, in_time)


def lose_the_driver(drill: Drill, job: str, output: Path) -> str:
    """The node of the job's own process goes; the same command, on what is there, goes on."""
    with three_nodes() as cluster:
        running = drill.submit(cluster, job, output)
        in_time = a_unit_is_done(running, output)
        cluster.nodes["a"].kill()
        first, _ = finished(running)
        cluster.wait_for([cluster.start_raylet("c", 1, {"driver": 1})])
        status, text = finished(drill.submit(cluster, job, output))
    return f"ended with {first}; again: " + verdict(drill, job, output, status, text, in_time)


def lose_the_head(drill: Drill, job: str, output: Path) -> str:
    """The head goes, and with it the cluster; the same command on a new one goes on."""
    with three_nodes() as cluster:
        running = drill.submit(cluster, job, output)
        in_time = a_unit_is_done(running, output)
        cluster.nodes["head"].kill()
        first, _ = finished(running)
    with three_nodes() as cluster:
        status, text = finished(drill.submit(cluster, job, output))
    return f"ended with {first}; again: " + verdict(drill, job, output, status, text, in_time)


def fill_the_disk(drill: Drill, job: str, output: Path) -> str:
    """The output lies on a file system too small for it, which is then made larger."""
    output.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(output)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        return "not run: a file system cannot be mounted here"
    try:
        with three_nodes() as cluster:
            first, text = finished(drill.submit(cluster, job, output))
            said = "said why" if "no space is left there" in text else "did not say why"
            subprocess.run(["mount", "-o", "remount,size=200m", str(output)], check=True)
            status, text = finished(drill.submit(cluster, job, output))
        return f"ended with {first}, {said}; again: " + verdict(drill, job, output, status, text, True)
    finally:
        subprocess.run(["umount", str(output)], check=False)


def starve_the_object_store(drill: Drill, job: str, output: Path) -> str:
    """Ray's least object store on every node."""
    with three_nodes(object_store_bytes=80 * 2**20) as cluster:
        status, text = finished(drill.submit(cluster, job, output))
    return verdict(drill, job, output, status, text, True)


def verdict(drill: Drill, job: str, output: Path, status: int, text: str, in_time: bool) -> str:
    """What became of it, in few words."""
    if not in_time:
        return "not run: the job ended before the fault"
    if status:
        return f"ended with {status}: " + text.strip().splitlines()[-1][:80]
    return "same rows" if drill.same(job, output) else "OTHER ROWS"


LINES: dict[str, tuple[str, Callable[[Drill, str, Path], str]]] = {
    "preprocess: a node is lost": ("preprocess", lose_a_node),
    "preprocess: the driver's node is lost": ("preprocess", lose_the_driver),
    "preprocess: the head is lost": ("preprocess", lose_the_head),
    "preprocess: the disk is full": ("preprocess", fill_the_disk),
    "preprocess: 80 MiB of object store": ("preprocess", starve_the_object_store),
    "score: a node is lost": ("score", lose_a_node),
    "score: the head is lost": ("score", lose_the_head),
}


def main() -> None:
    """Run the lines and print a table of outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(LINES), choices=list(LINES), metavar="NAME")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    bad = 0
    try:
        drill = Drill(folder)
        sys.stdout.write("| fault | outcome of each round |\n|---|---|\n")
        for name in options.only:
            job, line = LINES[name]
            outcomes = []
            for number in range(options.times):
                output = folder / f"{list(LINES).index(name)}-{number}"
                outcomes.append(line(drill, job, output))
                shutil.rmtree(output, ignore_errors=True)
            bad += sum("same rows" not in outcome for outcome in outcomes)
            counted = [f"{outcomes.count(outcome)} x {outcome}" for outcome in dict.fromkeys(outcomes)]
            sys.stdout.write(f"| {name} | {'; '.join(counted)} |\n")
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
