"""Wait until a cluster has room for a worker, and say what is waited for.

What Ray's head knows of nodes, of what they hold and of what is being started is asked of it directly: it
answers with either autoscaler and without a dashboard.
"""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import ray

from deepfake.errors import JobError
from deepfake.execution import nodes, ray_compat
from deepfake.progress import repeat

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
FIRST_WORD_SECONDS = 5.0
WORD_SECONDS = 60.0
# A cluster that neither has room nor starts anything for so long never will: autoscalers decide every 5 s.
GIVE_UP_SECONDS = 60.0

_DRIVER = "_ray_internal_job_actor_"  # what a submitted job's own process is called, before the job's id
_ROUNDING = 1e-6  # Ray counts in ten thousandths

Resources = Mapping[str, float]


@dataclass(frozen=True)
class Node:
    """A node that is up."""

    node_id: str  # hexadecimal
    total: Resources
    free: Resources


@dataclass(frozen=True)
class Holder:
    """A process that holds resources of a node."""

    node_id: str
    who: str  # in words
    drives: bool  # a job's own process, which holds them to the job's end
    own: bool  # of this job
    held: Resources


@dataclass(frozen=True)
class Room:
    """What a cluster has, who holds it, and what it is starting."""

    nodes: Sequence[Node]
    holders: Sequence[Holder]
    starting: Mapping[str, int]  # nodes by their type
    refused: Sequence[Resources] = ()  # demands that no type of node meets, as far as the autoscaler says
    failing: bool = False  # whether nodes that were to be started have failed of late

    def free_for(self, demand: Resources) -> bool:
        """Whether a node has that much free."""
        return any(_holds(node.free, demand) for node in self.nodes)

    def is_possible(self, demand: Resources) -> bool:
        """Whether a node that is up will ever have that much: more than drivers leave of it."""
        drivers = [holder for holder in self.holders if holder.drives]
        return any(_holds(_subtract(node, drivers), demand) for node in self.nodes)

    def subtract_others(self, node: Node) -> Resources:
        """What a node has beside what other jobs' processes, and all drivers, hold."""
        return _subtract(node, (holder for holder in self.holders if holder.drives or not holder.own))

    def put_in_words(self, demand: Resources) -> str:
        """Who holds what is wanted, and what is being started."""
        name = _choose_scarce(demand)
        total = sum(node.total.get(name, 0.0) for node in self.nodes)
        free = sum(node.free.get(name, 0.0) for node in self.nodes)
        held: Counter[str] = Counter()
        for holder in self.holders:
            if amount := holder.held.get(name, 0.0):
                held[holder.who] += amount  # type: ignore[assignment]
        said = [f"{free:g} of the cluster's {total:g} {name}s are free"]
        if held:
            said.append("held by " + ", ".join(f"{who} ({amount:g})" for who, amount in held.most_common(5)))
        if self.starting:
            started = ", ".join(f"{count} {kind}" for kind, count in self.starting.items())
            said.append(f"nodes being started: {started}")
        else:
            said.append("no node is being started" + (", the last ones failed to" if self.failing else ""))
        return "; ".join(said)


def wait_for_room(demand: Resources, most: int) -> None:
    """Return when a worker of ``demand`` has a place in the cluster; ``most`` are asked for meanwhile.

    What is waited for is said after some seconds and then each minute. ``JobError`` where it can never be
    had.
    """
    if look_at_cluster().free_for(demand):
        return
    rest = {name: amount for name, amount in demand.items() if name not in ("CPU", "GPU")}
    asked = ray.remote(
        num_cpus=demand.get("CPU", 0), num_gpus=demand.get("GPU", 0), resources=rest,
        label_selector=nodes.get_nodes().make_selector(),
    )(lambda: None)  # fmt: skip
    # Those that find no place in time take one for a moment later. They are not cancelled: Ray 2.60 may end
    # the whole process where a task is cancelled just as it ends.
    places = [asked.remote() for _ in range(most)]
    started = word = time.monotonic()
    hopeless_since: float | None = None
    while not ray.wait(places, num_returns=1, timeout=LOOK_SECONDS)[0]:
        now, room = time.monotonic(), look_at_cluster()
        if not is_hopeless(room, demand):
            hopeless_since = None
        elif hopeless_since is None:
            hopeless_since = now
        if now - started < FIRST_WORD_SECONDS or room.free_for(demand):
            continue
        told = any(_same(one, demand) for one in room.refused)
        if hopeless_since is not None and (told or now - hopeless_since > GIVE_UP_SECONDS):
            raise JobError(word_refusal(room, demand))
        if now >= word:
            log.warning("waiting for a worker's %s: %s", _phrase_amounts(demand), room.put_in_words(demand))
            word = now + WORD_SECONDS


@contextmanager
def tell_where_none_works(demand: Resources) -> Iterator[None]:
    """Say, each minute of the block, where no worker of this job has a place: all may have been lost."""

    def tell() -> None:
        with suppress(Exception):  # a head that does not answer is told of elsewhere
            room = look_at_cluster()
            mine = [holder for holder in room.holders if holder.own and not holder.drives]
            if not mine and not room.free_for(demand):
                log.warning(
                    "waiting for a worker's %s: %s", _phrase_amounts(demand), room.put_in_words(demand)
                )

    with repeat(WORD_SECONDS, tell):
        yield


def is_hopeless(room: Room, demand: Resources) -> bool:
    """Whether nothing that is there, or on its way, will ever have that much."""
    return not room.is_possible(demand) and not room.starting and not room.failing


def word_refusal(room: Room, demand: Resources) -> str:
    """Why a demand can never be met, and what to do, in words."""
    name = _choose_scarce(demand)
    largest = max((node.total.get(name, 0.0) for node in room.nodes), default=0.0)
    words = f"a worker needs {_phrase_amounts(demand)}"
    drivers = [holder for holder in room.holders if holder.drives and holder.held.get(name)]
    if largest + _ROUNDING >= demand[name] and drivers:
        who = "this job's own process" if any(holder.own for holder in drivers) else "jobs' own processes"
        held = sum(holder.held[name] for holder in drivers)
        return (
            f"{words}, and {who} hold{'s' * (who[0] == 't')} {held:g} of the cluster's "
            f"{sum(node.total.get(name, 0.0) for node in room.nodes):g} {name}s: submit the job without "
            "--entrypoint-num-cpus, or add a node"
        )
    return (
        f"{words}, and the largest node of the cluster has {largest:g} {name}s, nor does it start larger "
        "ones; add such nodes" + (", or leave out use_gpu to work on CPUs" if name == "GPU" else "")
    )


def look_at_cluster() -> Room:
    """What the cluster that this process has joined has, and what it is starting.

    Nodes that get no work of this job are left out.
    """
    reply, report = ray_compat.ask_cluster_status()
    found = [
        Node(node.node_id.hex(), dict(node.total_resources), dict(node.available_resources))
        for node in reply.cluster_resource_state.node_states
        if node.status != ray_compat.DEAD and node.node_id.hex() not in nodes.get_nodes().left_out
    ]
    starting: Counter[str] = Counter()
    state = reply.autoscaling_state
    for request in state.pending_instance_requests:
        starting[request.ray_node_type_name] += request.count
    starting.update(instance.ray_node_type_name for instance in state.pending_instances)
    failing = bool(state.failed_instance_requests)
    refused = [dict(request.resources_bundle) for request in state.infeasible_resource_requests]
    starting.update(report.get("pending_launches") or {})
    starting.update(kind for _, kind, *_ in report.get("pending_nodes") or ())
    failing = failing or bool(report.get("failed_nodes"))
    return Room(found, _list_holders(), dict(starting), refused, failing)


def _list_holders() -> list[Holder]:
    """Actors that hold resources; of tasks Ray's head does not know whose they are."""
    listed, actors = ray_compat.list_jobs_and_actors()
    jobs = {data.job_id: data.entrypoint or "a process of its own" for data in listed}
    mine = ray.get_runtime_context().get_job_id()
    submission = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    submitted = (submission.get("metadata") or {}).get("job_submission_id")
    found = []
    for data in actors:
        if not data.required_resources:
            continue
        drives = data.name.startswith(_DRIVER)
        job = data.name.removeprefix(_DRIVER) if drives else data.job_id.hex()
        own = job == (submitted if drives else mine)
        if own:
            who = "this job's own process" if drives else "this job"
        else:
            who = f"the process of job {job}" if drives else f"job {job} ({jobs.get(data.job_id, '?')})"
        found.append(Holder(data.node_id.hex(), who, drives, own, dict(data.required_resources)))
    return found


def _subtract(node: Node, holders: Iterable[Holder]) -> Resources:
    left = Counter(node.total)
    for holder in holders:
        if holder.node_id == node.node_id:
            left.subtract(holder.held)
    return left


def _holds(has: Resources, demand: Resources) -> bool:
    return all(has.get(name, 0.0) + _ROUNDING >= amount for name, amount in demand.items())


def _same(one: Resources, other: Resources) -> bool:
    names = {*one, *other}
    return all(abs(one.get(name, 0.0) - other.get(name, 0.0)) < _ROUNDING for name in names)


def _choose_scarce(demand: Resources) -> str:
    """The resource that a demand is about."""
    return next((name for name in ("GPU", "CPU") if demand.get(name)), next(iter(demand)))


def _phrase_amounts(demand: Resources) -> str:
    return " and ".join(
        f"{amount:g} {name}{'s' * (amount != 1)}" for name, amount in demand.items() if amount
    )
