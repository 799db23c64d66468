"""A training in MLflow or Weights & Biases, written by their own Keras callbacks, on the first worker alone.

Each run has the configuration as parameters, an epoch's row of the history as metrics, and at the end the
bundle with its plots and card. Neither library reports on its use.
"""

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepfake.config import TrainJobConfig
from deepfake.errors import UsageError
from deepfake.io.uri import make_absolute, split_uri

log = logging.getLogger(__name__)

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}


class MlflowTracker:
    """A run of MLflow's: ``run_id``, or a new one."""

    def __init__(self, config: TrainJobConfig, run_id: str | None) -> None:
        import mlflow

        assert config.tracking.mlflow is not None
        self._mlflow = mlflow
        mlflow.set_tracking_uri(_locate_store(config.tracking.mlflow))
        mlflow.set_experiment(config.tracking.experiment)
        if mlflow.active_run() is not None:  # of a training that failed in this process
            mlflow.end_run("FAILED")
        run = mlflow.start_run(run_id=run_id, run_name=None if run_id else _name_run(config))
        self.run_id: str = run.info.run_id
        self._callback: Any = None
        self._is_new = run_id is None
        if self._is_new:
            mlflow.log_params(list_parameters(config))

    def write(self, row: Mapping[str, Any], network: Any) -> None:
        """Add an epoch's row; ``network`` is compiled."""
        if self._callback is None:
            self._callback = self._mlflow.keras.MlflowCallback()
            self._callback.set_model(network)
            if self._is_new:
                self._callback.on_train_begin()
        self._callback.on_epoch_end(row["epoch"], select_metrics(row))

    def log_bundle(self, folder: Path, sha256: str) -> None:
        """Add the bundle's files."""
        self._mlflow.set_tag("bundle_sha256", sha256)
        self._mlflow.log_artifacts(str(folder), "bundle")

    def close(self) -> None:
        """End it."""
        self._mlflow.flush_async_logging()
        self._mlflow.end_run()


class WandbTracker:
    """A run of Weights & Biases': ``run_id``, or a new one. Offline, one that goes on has a folder more."""

    def __init__(self, config: TrainJobConfig, run_id: str | None) -> None:
        import wandb

        scheme, path = split_uri(config.output)
        self._wandb = wandb
        self._run = wandb.init(
            project=config.tracking.experiment,
            name=_name_run(config),
            id=run_id,
            resume="allow" if run_id and config.tracking.wandb_online else None,
            config=list_parameters(config),
            mode="online" if config.tracking.wandb_online else "offline",
            dir=path if scheme == "file" else None,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self.run_id: str = self._run.id
        self._callback: Any = None

    def write(self, row: Mapping[str, Any], network: Any) -> None:
        """Add an epoch's row; ``network`` is compiled."""
        if self._callback is None:
            from wandb.integration.keras import WandbMetricsLogger

            self._callback = WandbMetricsLogger()
        self._callback.set_model(network)  # each phase has its own, with a rate of its own
        self._callback.on_epoch_end(row["epoch"], select_metrics(row))

    def log_bundle(self, folder: Path, sha256: str) -> None:
        """Add the bundle's files."""
        plots = {f"plots/{path.stem}": self._wandb.Image(str(path)) for path in folder.glob("plots/*.png")}
        self._run.log(plots)
        made = self._wandb.Artifact(f"bundle-{self.run_id}", "model", metadata={"bundle_sha256": sha256})
        made.add_dir(str(folder))
        self._run.log_artifact(made)

    def close(self) -> None:
        """End it."""
        self._run.finish()


class Trackers:
    """The trackers of one training.

    ``run_ids`` are by tracker; runs that are begun join them, and a training that goes on hands them in.
    A tracker that fails is left out with a warning: training goes on.
    """

    def __init__(self, config: TrainJobConfig, run_ids: dict[str, str]) -> None:
        _quieten()
        kinds: dict[str, Any] = {"mlflow": MlflowTracker, "wandb": WandbTracker}
        wanted = [name for name in kinds if getattr(config.tracking, name)]
        self._trackers: dict[str, Any] = {}
        for name in wanted:
            try:
                self._trackers[name] = kinds[name](config, run_ids.get(name))
            except Exception as error:  # noqa: BLE001 - as in tell()
                log.warning("%s: nothing goes there: %s", name, error)
            else:
                run_ids[name] = self._trackers[name].run_id

    def tell(self, what: str, *values: Any) -> None:
        """Call ``write``, ``log_bundle`` or ``close`` of each."""
        for name, tracker in list(self._trackers.items()):
            try:
                getattr(tracker, what)(*values)
            except Exception as error:  # noqa: BLE001 - whatever a library raises of its server
                log.warning("%s: %s failed, and no more goes there: %s", name, what, error)
                del self._trackers[name]


def require_trackers(config: TrainJobConfig) -> None:
    """Raise ``UsageError`` where a tracker that is asked for is not installed, or has no place to write."""
    tracking = config.tracking
    for name in ("mlflow", "wandb"):
        if getattr(tracking, name) and find_spec(name) is None:
            raise UsageError(
                f"tracking.{name} takes the extra {name!r}, which is not installed: "
                f"pip install 'deepfake[{name}]'"
            )
    if tracking.mlflow is not None and _locate_store(tracking.mlflow) == tracking.mlflow:
        _require_server(tracking.mlflow)
    if tracking.wandb and not tracking.wandb_online and split_uri(config.output)[0] != "file":
        raise UsageError("tracking.wandb writes beside a local --output; add --tracking.wandb_online true")


def _require_server(address: str) -> None:
    """Raise ``UsageError`` where no MLflow answers, before hours of training."""
    _quieten()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        MlflowClient(address).search_experiments(max_results=1)
    except MlflowException as error:
        raise UsageError(f"tracking.mlflow {address}: no MLflow server answers there: {error}") from None


def _quieten() -> None:
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})


def list_parameters(config: TrainJobConfig) -> dict[str, Any]:
    """What decides a training's numbers, flat, as ``training.epochs``."""
    sections = config.model_dump(mode="json", include={*config.row_sections, "input", "output"})
    flat = {name: value for name, value in sections.items() if not isinstance(value, dict)}
    for name, section in sections.items():
        if isinstance(section, dict):
            flat |= {f"{name}.{key}": value for key, value in section.items()}
    return flat


def select_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's row, without those that are undefined."""
    return {name: float(value) for name, value in row.items() if isinstance(value, (int, float))}


def _name_run(config: TrainJobConfig) -> str:
    return config.output.rstrip("/").rpartition("/")[2]


def _locate_store(uri: str) -> str:
    """MLflow's name for its store."""
    if uri.startswith(("http://", "https://")):
        return uri
    scheme, path = split_uri(make_absolute(uri))
    if scheme != "file":
        raise UsageError(f"tracking.mlflow {uri}: a folder or the http(s) address of a server")
    return Path(path).as_uri()
