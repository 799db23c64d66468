"""Which nodes of a cluster get work, and which do not, for what reason.

A node that lacks a package, sees another folder where the output should be, or runs other code fails fast,
and would take most of the work. So each is examined before it gets any: those that are there by the job,
those that join later by their own workers. A worker that finds its node at fault hands its unit back with the
reason, instead of rows that blame the videos; a node whose units came back three times gets no more.

Workers and job share a few values that Ray's head keeps for the time of the job.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import deepfake
from deepfake.config import StorageConfig
from deepfake.errors import JobError, NodeFault, UsageError
from deepfake.execution import ray_compat
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.io.uri import join, split_uri

log = logging.getLogger(__name__)

MOST_FAULTS = 3  # units that a node may hand back before it gets no more work
MOST_BAD_NODES = 3  # of a cluster that can start others, before a job without a sound one stops
MOST_RETURNS = 3  # times that a unit is handed back before its failures are taken as they are
ANSWER_SECONDS = 90.0  # for a node's examination: a first import on a slow disk takes many
# A worker of a node at fault holds each unit so long, so that it does not take those of sound nodes.
HOLD_SECONDS = 10.0
LOOKS = 4  # at the job's output, before a node that does not see it is at fault
# What workers import, to be missed before they do.
MODULES = ("deepfake.execution.unit_worker", "av", "cv2", "isal", "pi_heif")

_CHECK = "check"
_RETURNED = "returned/"
_ACCEPTED = "accepted/"
_ENDS_THE_JOB = {kind.__name__: kind for kind in (UsageError, JobError, TableError)}
_FOLDER = Path(deepfake.__file__).resolve().parent


@dataclass(frozen=True)
class Check:
    """What a node must agree with before it gets work."""

    code_sha256: str
    code_folder: str  # of the job's own process
    lock_uri: str | None = None  # a file that the job has written in its output
    owner: str | None = None  # which that file names
    storage: str = "{}"  # its configuration, as JSON


@dataclass(frozen=True)
class Returned:
    """A unit that a worker has handed back."""

    unit_id: str
    node_id: str
    reason: str
    definite: bool = False  # the node was examined and is at fault; else it may be the unit
    unreadable: tuple[tuple[str, str], ...] = ()  # ids and URIs of videos that could not be read there
    unseen: bool = False  # whether one of them is not even there
    kind: str = "NodeFault"  # or another error of ``deepfake.errors``, which ends the job


@dataclass
class Nodes:
    """What a job knows of the nodes of the cluster that it has joined, or of its embedded Ray."""

    check: Check | None = None  # None: an embedded Ray, whose one node is this machine
    left_out: dict[str, str] = field(default_factory=dict)  # reasons by node id
    _examined: set[str] = field(default_factory=set)
    _faults: Counter[str] = field(default_factory=Counter)
    _returns: Counter[str] = field(default_factory=Counter)

    @property
    def of_a_cluster(self) -> bool:
        """Whether the job has joined a cluster, which may grow, and whose nodes may differ."""
        return self.check is not None

    def make_selector(self) -> dict[str, str]:
        """Ray's label selector for nodes that get work."""
        return {"ray.io/node-id": f"!in({','.join(sorted(self.left_out))})"} if self.left_out else {}

    def examine(self) -> bool:
        """Examine the nodes that were not yet; whether any of them gets no work.

        ``JobError`` where none is left that does, nor can be started.
        """
        if self.check is None:
            return False
        asked = {}
        for node_id in _list_working_nodes():
            if node_id not in self._examined:
                self._examined.add(node_id)
                place = NodeAffinitySchedulingStrategy(node_id, soft=False)
                probe = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=place)(_make_probe())
                asked[probe.remote(json.dumps(asdict(self.check)), MODULES)] = node_id
        _, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
        before = len(self.left_out)
        for answer, node_id in asked.items():
            if answer in late:
                self._leave_out(node_id, f"it has not answered for {ANSWER_SECONDS:g} s")
                continue
            try:
                reason = ray.get(answer)
            except ray.exceptions.RayError as error:  # such as a node that has gone meanwhile
                log.info("a node could not be examined: %s", error)
                continue
            if reason is not None:
                self._leave_out(node_id, reason)
        self._require_any()
        return len(self.left_out) > before

    def take_back(self, storage: Storage) -> list[str]:
        """Ids of the units that workers have handed back since the last call, for others to do.

        Raises what a worker has met that ends the job, and ``JobError`` where no node is left.
        """
        ids: list[str] = []
        if not ray.is_initialized():
            return ids
        for key in ray_compat.list_values(_RETURNED):
            data = ray_compat.get_value(key)
            ray_compat.delete_value(key)
            if data is None:
                continue
            content = json.loads(data)
            content["unreadable"] = tuple(map(tuple, content["unreadable"]))
            one = Returned(**content)
            if one.kind != NodeFault.__name__:
                raise _ENDS_THE_JOB[one.kind](one.reason)
            ids.append(one.unit_id)
            self._settle(one, storage)
        if ids:
            self._require_any()
        return ids

    def _settle(self, one: Returned, storage: Storage) -> None:
        """Whose fault it is that a unit came back."""
        self._returns[one.unit_id] += 1
        gone = bool(one.unreadable) and not any(_can_read(uri, storage) for _, uri in one.unreadable)
        # what the job sees is no fault of the files, however many nodes do not
        if gone or (not one.unseen and self._returns[one.unit_id] >= MOST_RETURNS):
            ray_compat.put_value(_ACCEPTED + one.unit_id, b"1")
        if gone:
            return
        self._faults[one.node_id] += 1
        if one.definite or self._faults[one.node_id] >= MOST_FAULTS:
            self._leave_out(one.node_id, one.reason)

    def _leave_out(self, node_id: str, reason: str) -> None:
        if node_id not in self.left_out:
            self.left_out[node_id] = reason
            ray.data.DataContext.get_current().execution_options.label_selector = self.make_selector()
            log.warning("node %s gets no more work: %s", _describe_node(node_id), reason)

    def _require_any(self) -> None:
        if not self.left_out or set(_list_working_nodes()) - self.left_out.keys():
            return
        if len(self.left_out) < MOST_BAD_NODES and self.of_a_cluster and ray_compat.starts_nodes():
            return  # nodes that do nothing are given back, and others started in their place
        reasons = "; ".join(sorted(set(self.left_out.values())))
        who = "no node of the cluster can" if self.of_a_cluster else "this machine cannot"
        raise JobError(
            f"{who} do the work: {reasons}. What was finished is kept; once that is mended, the same command "
            "goes on"
        )


_current = Nodes()


def stay_here() -> NodeAffinitySchedulingStrategy:
    """Keeps a task or actor on this process's node, and out of the place that Ray gave to a worker there."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def get_nodes() -> Nodes:
    """The nodes of this process's Ray session."""
    return _current


def begin_session(cluster: bool) -> None:
    """Start knowing the nodes of a session; on a cluster, examine those that are there.

    By the lock of the job's output, if this process holds one, a node shows that it sees the same folder.
    """
    global _current
    _current = Nodes()
    if not cluster:
        return
    held = lock.get_held_lock()
    place = (held.uri, held.owner, held.storage.config.model_dump_json()) if held is not None else ()
    _current.check = check = Check(hash_code(), str(_FOLDER), *place)
    ray_compat.put_value(_CHECK, json.dumps(asdict(check)).encode())
    _current.examine()
    _warn_of_an_output_of_one_machine(check)


def _warn_of_an_output_of_one_machine(check: Check) -> None:
    """Say so where the output is a local folder that no other node has shown that it sees."""
    if check.lock_uri is None or split_uri(check.lock_uri)[0] != "file":
        return
    here = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    see_it = _list_working_nodes().keys() - _current.left_out.keys() - {here}
    if not see_it and (others or ray_compat.starts_nodes()):
        log.warning(
            "%s is a path of this job's node, %s, and goes with that machine unless it lies on a file system "
            "that all nodes share; s3:// needs no such care",
            check.lock_uri.rpartition("/")[0], _describe_node(here),
        )  # fmt: skip


def end_session() -> None:
    """Take the session's values from Ray's head, and let work go to any node again."""
    global _current
    if _current.left_out:
        ray.data.DataContext.get_current().execution_options.label_selector = None
    for key in ray_compat.list_values(""):
        ray_compat.delete_value(key)
    _current = Nodes()


@cache
def require_sound() -> None:
    """Raise ``NodeFault`` unless this worker's node is as the job needs it; looked at once by each worker."""
    check = _check_of_the_job()
    if check is not None and (reason := find_fault(check)) is not None:
        raise NodeFault(reason, definite=True)


def hand_back(unit_id: str, fault: JobError | UsageError | TableError) -> None:
    """Give a unit back to the job, from a worker that cannot do it; raised where there are no workers."""
    if not ray.is_initialized():
        raise fault
    one = Returned(unit_id, ray.get_runtime_context().get_node_id(), str(fault), kind=type(fault).__name__)
    if isinstance(fault, NodeFault):
        one = replace(one, definite=fault.definite, unreadable=fault.unreadable, unseen=fault.unseen)
    ray_compat.put_value(_RETURNED + unit_id, json.dumps(asdict(one)).encode())
    if isinstance(fault, NodeFault) and on_cluster():
        time.sleep(HOLD_SECONDS)


def accepts_failures(unit_id: str) -> bool:
    """Whether what cannot be read in a unit is the files' fault: the job cannot read them either."""
    return not on_cluster() or ray_compat.get_value(_ACCEPTED + unit_id) is not None


@cache
def on_cluster() -> bool:
    """Whether this worker's node is one of several that may differ; asked once by each worker."""
    return _check_of_the_job() is not None


def find_fault(check: Check) -> str | None:
    """Why the node of this process cannot work for the job; None where it can."""
    if (mine := hash_code()) != check.code_sha256:
        return (
            f"it runs another version of the code ({_FOLDER}, {mine[:12]}; this job's: {check.code_folder}, "
            f"{check.code_sha256[:12]}): install the same on all, or submit the job with --working-dir"
        )
    if check.lock_uri is None:
        return None
    folder = check.lock_uri.rpartition("/")[0]
    storage = Storage(StorageConfig.model_validate_json(check.storage))
    name = join(folder, f"_node-{ray.get_runtime_context().get_node_id()}-{time.monotonic_ns()}")
    for attempt in range(LOOKS):  # a network's file system may show a new file late
        time.sleep(attempt)
        try:
            seen = json.loads(storage.read_text(check.lock_uri))
            if seen.get("owner") == check.owner:
                storage.write_text(name, "")
                storage.remove(name)
                return None
            reason = f"{folder} is another folder there: a local path must be one that all nodes share"
        except FileNotFoundError:
            reason = f"it does not see {folder}: a local path must be one that all nodes share"
        except (OSError, ValueError, JobError) as error:
            reason = f"it cannot read and write {folder}: {error}"
    return reason


@cache
def hash_code() -> str:
    """Hash of the package's source files, as this process has them."""
    found = hashlib.sha256()
    for path in sorted(_FOLDER.rglob("*.py")):
        found.update(str(path.relative_to(_FOLDER)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def _check_of_the_job() -> Check | None:
    if not ray.is_initialized():
        return None
    data = ray_compat.get_value(_CHECK)
    return None if data is None else Check(**json.loads(data))


def _make_probe() -> Callable[[str, Sequence[str]], str | None]:
    """The task that examines a node. Nested, it travels by value: a node may lack the package."""

    def examine_node(check: str, modules: Sequence[str]) -> str | None:
        import importlib
        import json

        try:
            for name in modules:
                importlib.import_module(name)
            nodes = importlib.import_module("deepfake.execution.nodes")
        except Exception as error:  # noqa: BLE001 - whatever it is, workers would die of it
            return f"what the job needs cannot be imported there: {type(error).__name__}: {error}"
        found: str | None = nodes.find_fault(nodes.Check(**json.loads(check)))
        return found

    return examine_node


def _list_working_nodes() -> dict[str, Mapping[str, float]]:
    """Resources of the nodes that may get work, by id."""
    return {
        node["NodeID"]: node["Resources"]
        for node in ray.nodes()
        if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU"))
    }


def sum_resource(resource: str) -> float:
    """Amount of a resource in the nodes that get work."""
    return sum(
        has.get(resource, 0.0) for name, has in _list_working_nodes().items() if name not in _current.left_out
    )


def sum_possible(resource: str) -> float | None:
    """Amount of a resource that the cluster has or may start; None where its autoscaler has not said."""
    groups = ray_compat.list_node_groups()
    if not groups:
        return None
    head = sum(
        node["Resources"].get(resource, 0.0)
        for node in ray.nodes()
        if node["Alive"] and "node:__internal_head__" in node["Resources"]
    )
    return max(sum_resource(resource), head + sum(count * has.get(resource, 0.0) for has, count in groups))


def _describe_node(node_id: str) -> str:
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
    return node_id


def _can_read(uri: str, storage: Storage) -> bool:
    with suppress(OSError, UsageError, JobError):
        with storage.open(uri) as file:
            file.read(1)
        return True
    return False
