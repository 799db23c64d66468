"""What every worker of a stage needs: Ray has its workers import this module when they start."""

from deepfake.imports import import_for_good

with import_for_good():
    import ray.data  # noqa: F401

    import deepfake.execution.accounting
    import deepfake.execution.unit_worker  # noqa: F401
