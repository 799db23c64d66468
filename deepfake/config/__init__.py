"""Typed configuration of every job: sections, their keys, defaults and meaning.

Plain pydantic models and nothing else; ``deepfake.cli`` reads them from YAML and the command line.
A key that is not here is an error, so each key is documented here and nowhere else.
"""

from deepfake.config.answers import (
    BenchmarkConfig,
    EvaluationConfig,
    LeakcheckConfig,
    ReportConfig,
    ScoringConfig,
)
from deepfake.config.base import SPLITS, Fraction, Section
from deepfake.config.data import (
    CatalogConfig,
    CropConfig,
    DetectorConfig,
    RayConfig,
    SamplingConfig,
    StorageConfig,
)
from deepfake.config.jobs import (
    BenchmarkJobConfig,
    DemoJobConfig,
    EvaluateJobConfig,
    JobConfig,
    LeakcheckJobConfig,
    PreprocessJobConfig,
    ScoreJobConfig,
    TrainJobConfig,
    VerifyJobConfig,
    config_sha256,
    sha256_of,
)
from deepfake.config.learning import AugmentConfig, FaultsConfig, ModelConfig, TrainingConfig

__all__ = [
    "SPLITS",
    "AugmentConfig",
    "BenchmarkConfig",
    "BenchmarkJobConfig",
    "CatalogConfig",
    "CropConfig",
    "DemoJobConfig",
    "DetectorConfig",
    "EvaluateJobConfig",
    "EvaluationConfig",
    "FaultsConfig",
    "Fraction",
    "JobConfig",
    "LeakcheckConfig",
    "LeakcheckJobConfig",
    "ModelConfig",
    "PreprocessJobConfig",
    "RayConfig",
    "ReportConfig",
    "SamplingConfig",
    "ScoreJobConfig",
    "ScoringConfig",
    "Section",
    "StorageConfig",
    "TrainJobConfig",
    "TrainingConfig",
    "VerifyJobConfig",
    "config_sha256",
    "sha256_of",
]
