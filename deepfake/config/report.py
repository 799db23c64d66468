"""The pages and plots written for people."""

from pydantic import Field

from deepfake.config.base import Fraction, Section


class PageConfig(Section):
    """The page written for people."""

    title: str | None = Field(None, description="heading of the page")


class ThumbnailPageConfig(PageConfig):
    """The page written for people, with pictures in it."""

    max_thumbnails: int = Field(500, ge=0, description="thumbnails embedded, most suspicious first")


class ReportConfig(ThumbnailPageConfig):
    """The pages and plots written for people."""

    rows: int = Field(
        250_000, ge=1, description="videos in the page's table, most suspicious first; the files hold all"
    )
    pages: int = Field(
        100,
        ge=0,
        description="videos with a page of their own: likely fake or uncertain, highest score first",
    )
    frames: int = Field(4, ge=0, description="frames shown on such a page")
    heat_maps: bool = Field(True, description="show where in the faces the network looked")
    faces: bool = Field(
        True,
        description="whether an output may hold pictures of people; false: no thumbnail, frame or heat map, "
        "and the table evidence is empty",
    )
    checksums: bool = Field(
        False, description="write SHA256SUMS of the output's files, for sha256sum --check and for signing"
    )
    case: str | None = Field(
        None,
        description="URI of a YAML file that names a case: case_report.html is written, an examiner's report "
        "of its items, to be printed (docs/scoring.md)",
    )
    live_seconds: float = Field(
        60.0,
        ge=0,
        description="while the job runs, write report.html of what is done so far every so many seconds, or "
        "less often where that takes more than a hundredth of the time; 0: only at the end",
    )
    prevalence: list[Fraction] = Field(
        [0.5, 0.1, 0.01, 0.001],
        description="shares of fakes among all videos for which the page says how many alarms are right",
    )

    @property
    def pictured_frames(self) -> int:
        """Frames shown on a video's page."""
        return self.frames if self.faces else 0


class UndecodedReportConfig(ReportConfig):
    """The pages and plots written for people, without pictures that videos are decoded for."""

    frames: int = Field(
        0, ge=0, description="frames shown on such a page, for which its video is decoded once more"
    )
    heat_maps: bool = Field(False, description="and where in their faces the network looked")
