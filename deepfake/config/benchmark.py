"""How often everything is measured."""

from pydantic import Field

from deepfake.config.base import Section


class BenchmarkConfig(Section):
    """How often everything is measured."""

    runs: int = Field(3, ge=1, description="runs; everything is measured in turn in each, medians count")
    copies: int = Field(3, ge=1, description="how many times the clips are repeated in a run")
    only: list[str] = Field(
        [], description="what to measure, by its names in the table, such as floor; empty: everything"
    )
