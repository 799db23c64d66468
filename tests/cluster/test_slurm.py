"""The sbatch file, run as Slurm runs it, with nodes that are processes of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests import running
from tests.cluster.local_cluster import SCRIPTS
from tests.pipelines.test_s3_jobs import rows
from tests.running import ROOT

SBATCH = ROOT / "cluster" / "slurm" / "deepfake.sbatch"
# One task a node, as srun starts them: ended with it, and it with them.
SRUN = """#!/usr/bin/env bash
for ((i = 0; i < SLURM_NNODES; i++)); do SLURM_NODEID=$i "$@" & done
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 143' TERM
wait
"""


def run_sbatch(folder: Path, *job: object, nodes: int = 2) -> subprocess.CompletedProcess[str]:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "srun").write_text(SRUN)
    (folder / "bin" / "srun").chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": str(nodes), "SLURM_CPUS_PER_TASK": "1",
        "SLURMD_NODENAME": "127.0.0.1", "SLURM_TMPDIR": str(folder), "OBJECT_STORE_GB": "1",
        "PATH": f"{folder / 'bin'}:{SCRIPTS}:{os.environ['PATH']}",
    }  # fmt: skip
    return subprocess.run(
        ["bash", str(SBATCH), *map(str, job)], cwd=ROOT, env=kept | running.FAIR | slurm, text=True,
        capture_output=True, timeout=running.HANGS_SECONDS, check=False,
    )  # fmt: skip


def test_it_is_a_script_with_options_of_sbatch_and_wants_a_command() -> None:
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    options = re.findall(r"^#SBATCH --([a-z-]+)=\S+$", SBATCH.read_text(), re.M)
    assert {"nodes", "ntasks-per-node", "cpus-per-task", "time", "signal"} <= set(options)
    done = subprocess.run(["bash", str(SBATCH)], text=True, capture_output=True, check=False)
    assert done.returncode == 2 and "usage: sbatch" in done.stderr


@pytest.mark.parametrize(("signum", "status"), [(None, 3), (signal.SIGTERM, 143)], ids=["ends", "is stopped"])
def test_the_job_s_exit_status_is_the_script_s_also_after_slurm_s_signal(
    tmp_path: Path, signum: signal.Signals | None, status: int
) -> None:
    """With nodes that do nothing, and a job that says so when it is told to stop."""
    for name, text in {
        "srun": "#!/bin/sh\nexec sleep 60\n",
        "python": "#!/bin/sh\ncat >/dev/null\n",  # that waits for the nodes
        "job": "#!/bin/bash\ntrap 'echo in order; kill $!; exit 143' TERM\necho begun\n"
        "sleep $1 & wait $!\nexit 3\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "2",
        "SLURMD_NODENAME": "127.0.0.1",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    command = ["bash", str(SBATCH), "job", "0.1" if signum is None else "60"]
    script = subprocess.Popen(command, env=os.environ | slurm, text=True, stdout=subprocess.PIPE)
    assert script.stdout is not None and script.stdout.readline() == "begun\n"
    if signum is not None:
        script.send_signal(signum)
    printed, _ = script.communicate(timeout=running.HANGS_SECONDS)
    assert script.returncode == status
    assert ("in order" in printed) == (signum is not None)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
)
def test_a_job_runs_on_all_nodes_and_its_exit_status_is_the_script_s(ffpp_small: Path) -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"slurm-{os.getpid()}"  # short, for Ray's sockets
    folder.mkdir()
    try:
        words = ("--detector.name", "haar", "--sampling.isolate", "false")
        job = ("python", "jobs/preprocess.py", "--input", ffpp_small, *words, "--output")
        done = run_sbatch(folder, *job, folder / "crops")
        assert done.returncode == 0, done.stderr
        assert "2 of 2 nodes have joined" in done.stderr and "Ray on 2 CPUs" in done.stderr
        assert len(rows(str(folder / "crops"), "videos")) == 12
        done = run_sbatch(folder, *job, folder / "crops", "--sampling.every_n", "7")
        assert done.returncode == 2, done.stderr
    finally:
        shutil.rmtree(folder, ignore_errors=True)
