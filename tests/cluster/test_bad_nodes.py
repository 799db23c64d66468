"""A cluster of two nodes, one of which lacks something: the other does all the work, with the same rows.

Run where ``DEEPFAKE_CLUSTER_TESTS`` is set, as the other tests that make clusters.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import pytest

from deepfake.config import PreprocessJobConfig
from deepfake.pipelines.preprocess import pipeline
from tests.cluster.local_cluster import LocalCluster, finished
from tests.pipelines.test_s3_jobs import rows
from tests.running import ROOT, flags

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
    ),
    pytest.mark.slow,
]
# Every frame: work enough for the other node's worker to come up, and be seen failing, before it is done.
OPTIONS = {"detector.name": "haar", "sampling.isolate": "false", "sampling.every_n": 1}


@pytest.fixture(scope="module")
def archive(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips in a folder that a node may not see."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copytree(ffpp_small, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crops of an embedded run."""
    output = tmp_path_factory.mktemp("undisturbed")
    options = {"detector": {"name": "haar"}, "sampling": {"isolate": False, "every_n": 1}}
    pipeline.run(
        PreprocessJobConfig.model_validate({"input": str(archive), "output": str(output), **options})
    )
    return output


def run(
    archive: Path,
    output: Path,
    hidden: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    sound: Sequence[str] = ("sound",),
) -> tuple[int, str]:
    """Status and words of preprocess on a node that is as it should be and one that is not."""
    with LocalCluster() as cluster:
        nodes = [cluster.start_raylet(name, 1) for name in sound]
        nodes.append(cluster.start_raylet("bad", 1, hidden=hidden, environment=environment))
        cluster.wait_for(nodes)
        words = flags({"input": archive, "output": output, **OPTIONS})
        elsewhere = cluster.folder / "empty"
        elsewhere.mkdir()
        job = cluster.submit("python", str(ROOT / "jobs/preprocess.py"), *words, working_dir=elsewhere)
        return finished(job)


def check(status: int, said: str, output: Path, undisturbed: Path, reason: str) -> None:
    assert status == 0, said
    assert said.count("gets no more work: ") == 1 and reason in said, said
    assert "Traceback" not in said
    for table in ("crops", "videos"):
        assert rows(str(output), table) == rows(str(undisturbed), table)
    assert json.loads((output / "_summary.json").read_text())["nodes_left_out"] == 1


def test_an_input_that_one_node_does_not_see_costs_no_row(
    archive: Path, undisturbed: Path, tmp_path: Path
) -> None:
    status, said = run(archive, tmp_path / "out", hidden=[archive])
    check(status, said, tmp_path / "out", undisturbed, "all nodes must see the input, at the same path")


def test_an_output_that_one_node_does_not_see_is_noticed_before_any_work(
    archive: Path, undisturbed: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    status, said = run(archive, shared / "out", hidden=[shared])
    check(status, said, shared / "out", undisturbed, "it does not see ")


def test_a_node_that_lacks_a_package_gets_no_work(archive: Path, undisturbed: Path, tmp_path: Path) -> None:
    status, said = run(archive, tmp_path / "out", hidden=[Path(av.__file__).parent])
    check(status, said, tmp_path / "out", undisturbed, "what the job needs cannot be imported there: ")


def test_a_node_with_other_code_gets_no_work_and_both_places_are_named(
    archive: Path, undisturbed: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "deepfake", other / "deepfake")
    (other / "deepfake/progress.py").open("a").write("\n# another version\n")
    status, said = run(archive, tmp_path / "out", environment={"PYTHONPATH": str(other)})
    check(status, said, tmp_path / "out", undisturbed, f"another version of the code ({other / 'deepfake'}, ")
    assert f"this job's: {ROOT / 'deepfake'}, " in said


def test_where_no_node_is_left_the_job_stops_with_the_remedy(archive: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    status, said = run(archive, shared / "out", hidden=[shared], sound=())
    assert status == 1, said
    assert "no node of the cluster can do the work: it does not see " in said
    assert "a local path must be one that all nodes share" in said and "Traceback" not in said
