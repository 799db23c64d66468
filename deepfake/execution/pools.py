"""How many workers a stage gets: as many as the cluster has or can start, as far as there is work for them.

Ray starts a node for what is asked for and finds no place. So on a cluster a stage asks for more workers
than there are CPUs: those that find no place wait for one, and are let go when no work is left for them. An
embedded Ray never grows, and has the same number of workers from start to end.
"""

from __future__ import annotations  # Ray imports its Data, and pandas, where its name is met

from collections.abc import Mapping
from dataclasses import dataclass

import ray

from deepfake.config import RayConfig
from deepfake.execution import nodes, session, waiting

# Workers that wait for a place at a time: so many CPUs are started in one step, the next when these work.
ASKED_AT_ONCE = 256
TASKS_AT_ONCE = 10_000  # the same for tasks, of which Ray's driver keeps all but a few to itself
ONE_CPU: Mapping[str, float] = {"CPU": 1.0}
ONE_GPU: Mapping[str, float] = {"GPU": 1.0}


@dataclass(frozen=True)
class Workers:
    """The workers of one stage."""

    now: int  # that have a place in the cluster as it is
    most: int
    bound: str  # what they are no more for, in words

    @property
    def asked(self) -> int:
        """Workers to ask for at the start."""
        return min(self.most, max(self.now, ASKED_AT_ONCE))

    def __str__(self) -> str:
        return f"{self.now} now, {self.most} at most ({self.bound})"


def plan_workers(config: RayConfig, units: int, fitting: int, could: int | None = None) -> Workers:
    """The workers of a stage that has so many ``units``; ``fitting`` of them have a place now.

    ``could`` have one once a cluster has started all that it may; None where that is not known.
    """
    fitting = max(1, fitting)
    bounds = [(max(1, units), "the units to do")]
    if could is not None:
        bounds.append((max(fitting, could), "what the cluster may start"))
    if config.workers:
        bounds.append((config.workers, "ray.workers"))
    elif not session.joins_a_cluster(config):
        bounds.append((fitting, "what this machine has"))
    most, bound = min(bounds)
    return Workers(min(most, fitting), most, bound)


def await_workers(config: RayConfig, units: int, demand: Mapping[str, float] = ONE_CPU) -> Workers:
    """The workers of a stage that has so many ``units``, once one of them has a place.

    Each asks for ``demand``, of one resource. Needs a Ray session; ``JobError`` where the cluster can never
    have room for any.
    """
    if not session.workers_exist():
        return Workers(1, 1, "this process")
    if session.joins_a_cluster(config):
        waiting.wait_for_room(demand, min(units, config.workers or units, ASKED_AT_ONCE))
    [(resource, amount)] = demand.items()
    return plan_in_session(config, units, resource, amount)


def plan_in_session(config: RayConfig, units: int, resource: str = "CPU", amount: float = 1.0) -> Workers:
    """The workers of a stage that each take so much of a resource of the cluster that was joined."""
    could = nodes.sum_possible(resource)
    most = None if could is None else int(could / amount)
    return plan_workers(config, units, int(nodes.sum_resource(resource) / amount), most)


def list_free_cpus() -> list[float]:
    """CPUs of each node that no other job holds, nor this job's own process."""
    room = waiting.look_at_cluster()
    return [room.subtract_others(node).get("CPU", 0.0) for node in room.nodes]


def make_actor_pool(some: Workers, at_once: int = 1) -> ray.data.ActorPoolStrategy:
    """Workers that load what they need once, and each have further units at hand when they have done some.

    Each works at so many units ``at_once``, in threads.
    """
    return ray.data.ActorPoolStrategy(
        min_size=some.now,
        initial_size=some.asked,
        max_size=some.most,
        max_tasks_in_flight_per_actor=2 * at_once,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=at_once > 1,
    )


def await_gpus(config: RayConfig, option: str, units: int) -> Workers:
    """Workers that hold a GPU each; ``option`` asks for them. ``ray.workers`` is about those that decode.

    ``UsageError`` where an embedded Ray has none.
    """
    if not session.joins_a_cluster(config):
        session.require_gpus(config, option)
    return await_workers(config.model_copy(update={"workers": None}), units, ONE_GPU)


def make_task_pool(some: Workers) -> ray.data.TaskPoolStrategy:
    """Workers that have nothing to load."""
    return ray.data.TaskPoolStrategy(size=min(some.most, TASKS_AT_ONCE))


def tune_for_one_stage(results: ray.data.Dataset) -> ray.data.Dataset:
    """The same dataset, for whose one stage Ray Data need not share memory among stages ten times a second.

    That is 1 % of a core. What a stage may hold is bounded by its workers' tasks in flight. Nor need it share
    CPUs: the workers that wait are what the cluster grows by, at once and not by doubling what runs, and no
    request of Ray Data's holds idle nodes while the last units are worked at.
    """
    context = results.context
    context.op_resource_reservation_enabled = False
    context.autoscaling_config.actor_pool_max_upscaling_delta = ASKED_AT_ONCE
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(cpu=1)
    return results
