"""Which videos there are: their layout, splits and filters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from deepfake.config.base import Fraction, Section

Layout = Literal[
    "auto",
    "ffpp",
    "celeb_df",
    "dfdc",
    "dfdc_preview",
    "dfd",
    "df40",
    "fakeavceleb",
    "deeperforensics",
    "wilddeepfake",
    "folders",
    "manifest",
]


class CatalogConfig(Section):
    """Which videos there are, and what is known of them."""

    layout: Layout = Field(
        "auto",
        description="ffpp: the FaceForensics++ tree; celeb_df: Celeb-DF v1 or v2; dfdc: parts with their "
        "metadata.json; dfdc_preview, df40, fakeavceleb, deeperforensics, wilddeepfake: those data sets; "
        "dfd: DeepFakeDetection's actors outside FF++'s tree; folders: labels from folder "
        "names, if any; manifest: a CSV or Parquet table; auto: whichever fits the input",
    )
    frame_folders: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether a folder of numbered pictures is one video, whose frames they are; auto: by "
        "names, as real/VIDEO/0001.png; a guess is logged",
    )
    follow_links: bool = Field(
        False,
        description="follow links that lead out of the listed folder; else they are counted in a warning",
    )
    splits_dir: str | None = Field(
        None, description="folder with the official train.json, val.json and test.json pair lists"
    )
    split_fractions: tuple[Fraction, Fraction, Fraction] = Field(
        (0.72, 0.14, 0.14), description="train, val, test shares where no official split applies"
    )
    split_seed: int = Field(0, description="seed of the split by identity group")
    assign_splits: dict[str, Literal["train", "val", "test"]] = Field(
        {}, description='splits by hand, as glob pattern of video_id -> split, e.g. {"real/a*": "val"}'
    )
    datasets: list[str] | None = Field(None, description="keep only these FF++ datasets (youtube, actors)")
    methods: list[str] | None = Field(None, description="keep only these manipulation methods")
    compressions: list[str] | None = Field(None, description="keep only these compressions (raw, c23, c40)")
    groups: list[str] = Field(
        [],
        description="columns of a manifest, or labels that a data set states itself (FakeAVCeleb: race, "
        "gender), that crops and scores keep; evaluate compares their groups. None is ever guessed",
    )
    dedupe: bool = Field(
        True, description="files with the same bytes are decoded once; copies get status skipped_duplicate"
    )

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> CatalogConfig:
        if abs(sum(self.split_fractions) - 1.0) > 1e-6:
            raise ValueError(f"catalog.split_fractions must sum to 1, got {self.split_fractions}")
        return self
