"""The distributed training loop, and known mistakes to be shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from deepfake.config.base import Section


def _take_single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value  # of a command line


Workers = Annotated[int, Field(ge=1)]


class TrainingConfig(Section):
    """The distributed training loop."""

    epochs: int = Field(12, ge=1, description="most epochs trained, both phases together")
    head_epochs: int = Field(
        1,
        ge=0,
        description="the first so many epochs train the head alone; at least one is left to fine-tuning",
    )
    head_learning_rate: float = Field(1e-3, gt=0, description="learning rate while the head trains alone")
    fine_tune: Literal["none", "top", "norms", "all"] = Field(
        "all",
        description="what else learns after that: nothing (the head goes on to the end), the last blocks "
        "of the backbone, its norms and no other weight, or all of it",
    )
    fine_tune_blocks: int = Field(
        2, ge=1, description="how many of the backbone's last blocks fine_tune: top takes"
    )
    learning_rate: float = Field(3e-4, gt=0, description="learning rate of fine-tuning")
    freeze_batch_norm: bool = Field(
        True,
        description="keep the backbone's BatchNorm statistics as loaded, and its scales and offsets unless "
        "fine_tune: norms",
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "cosine",
        description="cosine: from the phase's rate to min_learning_rate over the phase's epochs; plateau: "
        "reduced where what select looks at gets no better",
    )
    warmup_epochs: float = Field(
        0.5, ge=0, description="the rate rises linearly over so much of the first epochs of each phase"
    )
    reduce_lr_patience: int = Field(3, ge=0, description="plateau: epochs before the rate is reduced")
    reduce_lr_factor: float = Field(0.2, gt=0, lt=1, description="plateau: by this factor")
    min_learning_rate: float = Field(1e-6, ge=0, description="the rate never falls below this")
    select: Literal["balanced_loss", "val_video_auc", "last"] = Field(
        "balanced_loss",
        description="which epoch is kept: the one with the lowest val_balanced_loss, which weighs the "
        "classes equally; the one with the highest val_video_auc; or the last one",
    )
    early_stopping_patience: int | None = Field(
        None,
        ge=0,
        description="epochs in which what select looks at (with last: val_balanced_loss) gets no better that "
        "end a phase (default: none do, for a cosine is made for its last epoch)",
    )
    workers: Annotated[
        Workers | Annotated[list[Workers], Field(min_length=2, max_length=2)], BeforeValidator(_take_single)
    ] = Field(
        1,
        description="workers that train together; several, or one on a cluster or a GPU: of Ray Train. Two "
        "numbers, as [2, 8]: as many as the cluster has room for, from epoch to epoch, with the same numbers",
    )
    use_gpu: bool = Field(False, description="one GPU for each worker; not tried yet with TensorFlow")
    threads_per_worker: int | None = Field(
        None, ge=1, description="TensorFlow threads of a CPU worker (default: cores divided by workers)"
    )
    global_batch: int = Field(32, ge=1, description="crops per update, of all workers together")
    accumulate: int = Field(
        1,
        ge=1,
        description="each worker takes its share of a batch in so many parts, one after the other, which "
        "needs less memory and gives the same update; BatchNorm, where the backbone has it, must be frozen",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="labels are this share nearer to 0.5 in the loss"
    )
    uniformity: float = Field(
        0.0,
        ge=0,
        description="weight of the loss that spreads the features over the sphere; needs model.head sphere",
    )
    alignment: float = Field(
        0.0, ge=0, description="weight of the loss that brings features of one class together on the sphere"
    )
    weight_decay: float = Field(
        0.0, ge=0, description="AdamW's decay of kernels, a step and unit of learning rate; 0: Adam"
    )
    clip_norm: float | None = Field(
        None, gt=0, description="longest gradient, by the norm over all weights and the global batch"
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="validate and save an exponential moving average of the weights with this momentum, "
        "such as 0.999; 0: the weights themselves",
    )
    balance: Literal["none", "class", "method", "paired"] = Field(
        "method",
        description="none: every crop once an epoch; class: as many fakes as reals, others of the larger "
        "class in the next epoch; method: and as many of each manipulation method; paired: each real beside "
        "a fake of the same frame, in one batch and augmented alike",
    )
    most_repeats: int = Field(
        3,
        ge=1,
        description="times that balance: method shows a crop in an epoch, at most; what a rare method cannot "
        "fill goes to the others",
    )
    shuffle_row_groups: int = Field(
        16, ge=1, description="row groups of the crops (64 each) that are shuffled and held at once"
    )
    mixed_precision: Literal["none", "mixed_bfloat16", "mixed_float16"] = Field(
        "none", description="compute type of the network's layers"
    )
    jit_compile: bool = Field(
        False, description="compile the training step with XLA; one worker only, and slower on most CPUs"
    )
    seed: int = Field(0, ge=0, description="seeds weights, order, augmentation and dropout")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(
        [],
        description="with --compare: each recipe is trained once with each, to show how much numbers spread",
    )
    train_split: str = Field("train", description="value of the split column to train on")
    val_split: str = Field("val", description="value of the split column for model choice")
    split_seed: int = Field(
        0,
        ge=0,
        description="seed of the half of validation's identities that is kept for thresholds and "
        "calibration, where each class has 40 or more; the other half chooses the epoch",
    )
    allow_overlap: bool = Field(
        False, description="train although identities are shared between the splits (numbers will lie)"
    )
    cache_gb: float = Field(
        16.0,
        ge=0,
        description="of each node's disk for decoded crops, which later epochs need not unpack; at most half "
        "of what is free there; 0: none",
    )
    checkpoint_minutes: float | None = Field(
        10.0, ge=0, description="a checkpoint at least so often, within epochs, too; null: after each alone"
    )
    max_failures: int = Field(3, ge=-1, description="worker failures survived before the job fails")
    resume: bool = Field(
        True, description="go on from the output's last checkpoint; false: replace what the output holds"
    )
    deterministic: bool = Field(True, description="use deterministic TensorFlow kernels")

    @property
    def least_workers(self) -> int:
        """Without so many no training begins or goes on."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """More than ``least_workers`` where their number follows the cluster's nodes."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def name_workers(self) -> int | str:
        """How many workers, in words."""
        least, most = self.least_workers, self.most_workers
        return most if least == most else f"{least} to {most}"

    @model_validator(mode="after")
    def _workers_have_a_size(self) -> TrainingConfig:
        if self.least_workers > self.most_workers:
            raise ValueError(f"training.workers is {self.workers}: the least comes first, then the most")
        is_elastic = self.least_workers < self.most_workers
        if is_elastic and not self.use_gpu and self.threads_per_worker is None:
            raise ValueError(
                f"training.workers {self.workers} needs training.threads_per_worker: how many cores a worker "
                "takes, which decides for how many a cluster has room (or training.use_gpu)"
            )
        return self

    @model_validator(mode="after")
    def _is_compiled_by_one_worker(self) -> TrainingConfig:
        if self.jit_compile and self.most_workers > 1:
            raise ValueError(
                f"training.jit_compile works with one worker only, training.workers is {self.workers}: XLA "
                "cannot compile the sums over workers inside the step"
            )
        return self


class FaultsConfig(Section):
    """Known mistakes of other recipes, to show what they do to numbers; never for a detector to be used."""

    frame_split: bool = Field(
        False,
        description="validate on a random fifth of the training split's crops, not on other people: both "
        "show the same videos",
    )
    rotate_fakes: bool = Field(
        False,
        description="before the split, copy every fake, turned by 5 degrees, which leaves black corners",
    )
    divide_by_255: bool = Field(
        False, description="divide crops by 255 before a network that rescales them itself"
    )
    bgr: bool = Field(False, description="show the network blue for red and red for blue")

    def list_names(self) -> list[str]:
        """The mistakes that are switched on."""
        return [name for name, is_on in self if is_on]
