"""When a node gets no more work, when a unit's failures are its own, when a job has nowhere left to go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from deepfake.errors import JobError, NodeFault, UsageError
from deepfake.execution import nodes
from deepfake.execution.nodes import MOST_FAULTS, MOST_RETURNS, Check, Nodes
from deepfake.io import lock
from deepfake.io.storage import Storage


@pytest.fixture
def job(ray_session: None) -> Iterator[Nodes]:
    """What a job on this machine's Ray knows of its one node."""
    nodes.begin_session(cluster=False)
    yield nodes.get_nodes()
    nodes.end_session()
    assert ray.data.DataContext.get_current().execution_options.label_selector is None


@pytest.fixture
def clip(tmp_path: Path) -> str:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    return str(tmp_path / "clip.mp4")


def test_a_fault_is_tried_again_until_its_node_has_failed_three_times(job: Nodes) -> None:
    for i in range(MOST_FAULTS - 1):
        nodes.hand_back(f"unit {i}", NodeFault("no room"))
        assert job.take_back(Storage()) == [f"unit {i}"]
        assert not job.left_out and not job.make_selector()
    nodes.hand_back("last", NodeFault("no room"))
    with pytest.raises(JobError, match=r"^this machine cannot do the work: no room\. What was "):
        job.take_back(Storage())
    (node,) = job.left_out
    assert job.make_selector() == {"ray.io/node-id": f"!in({node})"}


def test_what_was_examined_is_at_fault_at_once(job: Nodes) -> None:
    nodes.hand_back("unit", NodeFault("other code", definite=True))
    with pytest.raises(JobError, match="other code"):
        job.take_back(Storage())


def test_a_file_that_the_job_cannot_read_either_is_no_node_s_fault(job: Nodes, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.mp4")
    for i in range(2 * MOST_FAULTS):
        nodes.hand_back(f"unit {i}", NodeFault("cannot read", unreadable=(("gone.mp4", gone),)))
    assert len(job.take_back(Storage())) == 2 * MOST_FAULTS
    assert not job.left_out


def test_a_unit_that_comes_back_thrice_is_taken_as_it_is(
    job: Nodes, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "on_cluster", lambda: True)
    monkeypatch.setattr(nodes, "HOLD_SECONDS", 0)
    fault = NodeFault("cannot read", unreadable=(("clip.mp4", clip),))
    for _ in range(MOST_RETURNS):
        assert not nodes.accepts_failures("unit")
        nodes.hand_back("unit", fault)
        with suppress(JobError):  # the only node is at fault the third time
            job.take_back(Storage())
    assert nodes.accepts_failures("unit")


def test_files_that_the_job_sees_are_never_taken_for_missing(
    job: Nodes, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "on_cluster", lambda: True)
    monkeypatch.setattr(nodes, "HOLD_SECONDS", 0)
    for _ in range(2 * MOST_RETURNS):
        nodes.hand_back("unit", NodeFault("no file", unreadable=(("clip.mp4", clip),), unseen=True))
        with suppress(JobError):  # the only node is at fault the third time
            job.take_back(Storage())
    assert not nodes.accepts_failures("unit")
    assert len(job.left_out) == 1


@pytest.mark.parametrize("error", [UsageError("the bucket is gone"), JobError("no disk")])
def test_what_is_the_user_s_ends_the_job_as_it_was_raised(job: Nodes, error: JobError | UsageError) -> None:
    nodes.hand_back("unit", error)
    with pytest.raises(type(error), match=str(error)):
        job.take_back(Storage())


@pytest.fixture
def check(tmp_path: Path, ray_session: None) -> Iterator[Check]:
    """What a sound node agrees with, while the job holds its output."""
    storage = Storage()
    with lock.hold(str(tmp_path / "out"), storage) as held:
        yield Check(nodes.hash_code(), "/job", held.uri, held.owner, storage.config.model_dump_json())


def test_a_node_that_sees_the_output_and_runs_the_same_code_is_sound(check: Check, tmp_path: Path) -> None:
    assert nodes.find_fault(check) is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == [lock.FILE], "it leaves nothing"


def test_a_node_that_sees_another_folder_or_none_is_at_fault(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "LOOKS", 1)
    other = nodes.find_fault(replace(check, owner="another job"))
    assert other is not None and "is another folder there" in other
    assert check.lock_uri is not None
    none = nodes.find_fault(replace(check, lock_uri=check.lock_uri.replace("out", "elsewhere")))
    assert none is not None and none.startswith("it does not see ")


def test_other_code_is_named_with_both_places(check: Check) -> None:
    reason = nodes.find_fault(replace(check, code_sha256="0" * 64))
    assert reason is not None and "this job's: /job, 000000000000" in reason
