"""Typed configuration of every job: sections, their keys, defaults and meaning.

Plain pydantic models, one module for each package that they configure; ``parse`` reads them from YAML and
the command line.
A key that is not here is an error, so each key is documented here and nowhere else.
"""

from deepfake.config.augmentation import AugmentConfig
from deepfake.config.base import SPLITS, Fraction, Section
from deepfake.config.benchmark import BenchmarkConfig
from deepfake.config.catalog import CatalogConfig
from deepfake.config.evaluation import EvaluationConfig
from deepfake.config.execution import RayConfig
from deepfake.config.faces import CropConfig, DetectorConfig
from deepfake.config.foreign import ForeignConfig
from deepfake.config.hashing import ROWS_VERSION, hash_config, hash_json
from deepfake.config.io import StorageConfig
from deepfake.config.jobs import (
    AdoptJobConfig,
    BenchmarkJobConfig,
    CropJobConfig,
    DemoJobConfig,
    EvaluateJobConfig,
    ExportJobConfig,
    JobConfig,
    LeakcheckJobConfig,
    PreprocessJobConfig,
    RemoveJobConfig,
    ScoreJobConfig,
    TrainJobConfig,
    VerdictsJobConfig,
    VerifyJobConfig,
    WatchJobConfig,
)
from deepfake.config.leakcheck import LeakcheckConfig
from deepfake.config.model import ModelConfig
from deepfake.config.report import PageConfig, ReportConfig, ThumbnailPageConfig, UndecodedReportConfig
from deepfake.config.scoring import (
    InferenceConfig,
    RuleConfig,
    ScoringConfig,
    VerdictConfig,
    WatchConfig,
    WatchScoringConfig,
)
from deepfake.config.tracking import TrackingConfig
from deepfake.config.training import FaultsConfig, TrainingConfig
from deepfake.config.video import SamplingConfig
