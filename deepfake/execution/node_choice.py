"""Which type of machine Ray's autoscaler starts, of those that would do (cluster/aws/cluster.yaml)."""

from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def prefer_available(
    node_resources: Any, resources: Any, node_type: str, *, node_availability_summary: Any
) -> tuple[Any, ...] | None:
    """Ray's own score, after which those types come last that could not be started lately; seen in 2.60.0.

    Ray itself asks again and again for the type that it likes best, such as spot machines that are sold out.
    Types of equal score are taken from the end of the alphabet. None: nothing of what is wanted fits.
    """
    score = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    seen = node_availability_summary.node_availabilities.get(node_type)
    no_wasted_gpu, *rest = score
    return (no_wasted_gpu, seen is None or seen.is_available, *rest)
