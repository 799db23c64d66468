"""Where else a training is written down."""

from pydantic import Field, field_validator

from deepfake.config.base import Section, require_no_secret


class TrackingConfig(Section):
    """Experiment trackers that a training is shown in beside TensorBoard; none by default."""

    experiment: str = Field("deepfake", min_length=1, description="MLflow's experiment, and W&B's project")
    mlflow: str | None = Field(
        None,
        description="MLflow's store: a folder, or the http(s) address of a server; takes the extra 'mlflow'",
    )
    _no_secret = field_validator("mlflow")(require_no_secret)

    wandb: bool = Field(
        False,
        description="Weights & Biases: offline, in the folder wandb of a local output, from where wandb sync "
        "sends it; takes the extra 'wandb'",
    )
    wandb_online: bool = Field(False, description="send it while it runs")
