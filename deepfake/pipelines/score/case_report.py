"""An examiner's report on the items of a case, for paper: what was done, found, and not analysed.

What the case file leaves out is a line to write on. The report concludes nothing: that is the examiner's.
"""

import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError, field_validator

from deepfake.config import ScoreJobConfig, Section
from deepfake.config.parse import read_yaml
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.run_record import read_score_record
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.uri import join, make_absolute
from deepfake.model.verdicts import VERDICT_WORDS, VerdictRule
from deepfake.pipelines.score import findings, video_page
from deepfake.pipelines.score.index_page import STATUS_WORDS
from deepfake.pipelines.score.video_page import Case
from deepfake.report import html

log = logging.getLogger(__name__)

PAGE = "case_report.html"
_SHA256 = re.compile(r"[0-9a-f]{64}")

Row = Mapping[str, Any]


class CaseItem(Section):
    """A video of the case; what is ``""`` is not known."""

    video: str = Field(min_length=1)  # its video_id: the path below the input
    item: str = ""  # its number in the case
    received: str = ""  # when, from whom, on what
    sha256: str = ""  # of the file, as it was stated
    note: str = ""

    @field_validator("sha256")
    @classmethod
    def _is_a_hash(cls, text: str) -> str:
        found = "".join(text.split()).lower()
        if found and not _SHA256.fullmatch(found):
            raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
        return found


class CaseFile(Section):
    """What an examiner knows before; what is ``""`` is a blank line of the report."""

    reference: str = ""
    examiner: str = ""
    requested_by: str = ""
    received: str = ""
    question: str = ""
    first_proposition: str = ""
    second_proposition: str = ""
    items: tuple[CaseItem, ...] = ()  # none: every video of the input

    @field_validator("items", mode="before")
    @classmethod
    def _nothing_is_no_items(cls, items: Any) -> Any:
        return items or ()


def read_case(uri: str, storage: Storage) -> CaseFile:
    """The case that a YAML file names; ``UsageError`` where it is none."""
    try:
        return CaseFile.model_validate(read_yaml(make_absolute(uri), storage.read_text, words=True))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UsageError(f"{uri}: unknown key {key}; docs/scoring.md lists those of a case") from None
        words = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{uri}: {key}: {words} (got {first['input']!r:.80})") from None


def find_rows(items: Sequence[CaseItem], videos: pa.Table) -> dict[str, Row]:
    """Rows of ``video_scores`` of the items, and of the files that stand for copies, by ``video_id``."""
    found: dict[str, Row] = {}
    names = [item.video for item in items]
    while names:
        chosen = videos.filter(pc.is_in(videos["video_id"].cast(pa.string()), pa.array(names, pa.string())))
        rows = tables.decode_strings("video_scores", chosen).to_pylist()
        found |= {row["video_id"]: row for row in rows}
        names = [name for row in rows if (name := row["duplicate_of"]) and name not in found]
    return found


def choose_items(case: CaseFile, videos: pa.Table, most: int) -> list[CaseItem]:
    """The case's items; where it names none, the videos of a table by name, so many at most."""
    names = videos["video_id"].to_pylist()
    return list(case.items) or [CaseItem(video=name) for name in sorted(names)[:most]]


def write_case_report(
    case: CaseFile,
    items: Sequence[CaseItem],
    videos: pa.Table,
    cases: Mapping[str, Case],
    config: ScoreJobConfig,
    sampling: str,
    point: VerdictRule,
    storage: Storage,
) -> str:
    """Write ``case_report.html`` to the output; its URI.

    ``videos`` is table ``video_scores``, ``cases`` has the items that were scored, with their pictures, by
    ``video_id``; ``sampling`` says in words which frames were looked at.
    """
    rows = find_rows(items, videos)
    statuses = tables.count_values(videos["status"].cast(pa.string()))
    shown = [
        describe_item(item, number, rows, cases, config, sampling, point)
        for number, item in enumerate(items, 1)
    ]
    known, measured = point.validated_on, point.measured
    again = ["deepfake", "score", "--verify", config.output, "--bundle", *config.bundle]
    text = html.render_page(
        "case_report.html",
        title=" ".join(["Examiner's report", case.reference]).strip(),
        case=case,
        items=shown,
        propositions=findings.PROPOSITIONS,
        facts=describe_method(rows, config, sampling, point, storage),
        rates=findings.describe_error_rates(measured) if measured else [],
        rates_note=measured.note if measured else None,
        operating_point=point.name,
        unproven=point.unproven,
        validated_on=known.put_in_words() if known else None,
        unscored=[(STATUS_WORDS.get(s, s), s, n) for s, n in sorted(statuses.items()) if s != Status.OK],
        total=videos.num_rows,
        elsewhere=videos.num_rows - len({item.video for item in items} & rows.keys()),
        command=shlex.join([*again, "--sample", str(videos.num_rows - statuses[Status.SKIPPED_DUPLICATE])]),
        checksums=config.report.checksums,
    )
    storage.write_text(join(config.output, PAGE), text)
    return join(config.output, PAGE)


def describe_item(
    item: CaseItem, number: int, rows: Mapping[str, Row], cases: Mapping[str, Case], config: ScoreJobConfig,
    sampling: str, point: VerdictRule,
) -> dict[str, Any]:  # fmt: skip
    """What the report says of an item, the arguments as above; ``rows`` as ``find_rows`` gives them."""
    own = rows.get(item.video)
    found = {"item": item, "name": item.item or str(number), "row": own, "sections": None}
    if own is None:
        log.warning("%s, an item of the case, is not among the videos of %s", item.video, config.input)
        return {**found, "hash": None, "differs": False, "status": "not in the input"}
    differs = bool(item.sha256 and own["content_sha256"] and item.sha256 != own["content_sha256"])
    if differs:
        log.warning("%s: its SHA-256 is not the one that the case states", item.video)
    row = rows.get(own["duplicate_of"], own)
    status = STATUS_WORDS.get(row["status"], row["status"])
    if row["status_detail"]:
        status = f"{status} ({row['status_detail']})"
    found |= {"row": row, "hash": own["content_sha256"], "differs": differs, "status": status}
    if case := cases.get(row["video_id"]):
        assert config.detector is not None  # resolved
        known = video_page.explain_video(
            case, config.scoring.smooth_seconds, config.detector.keep, sampling, point, config.report,
            prefix=f"item-{number}-",
        )  # fmt: skip
        found |= {name: known[name] for name in ("finding", "differences")}
        found["verdict"] = VERDICT_WORDS[row["verdict"]]
        found["sections"] = html.render_part("video_sections.html", **known)
    return found


def describe_method(
    rows: Mapping[str, Row], config: ScoreJobConfig, sampling: str, point: VerdictRule, storage: Storage
) -> dict[str, str]:
    """What was done with what, as label -> words."""
    assert config.detector is not None  # resolved
    record = read_score_record(config.output, storage)
    scoring = config.scoring
    over = "all its faces" if scoring.over_tracks == "faces" else f"its tracks' ({scoring.over_tracks})"
    software = sorted({row["made_with"] for row in rows.values() if row["made_with"]})
    return {
        "Input": config.input,
        "Frames looked at": sampling,
        "Faces": f"found by {config.detector.name}, of each frame kept: {config.detector.keep}",
        "A video's score": f"{scoring.aggregation} over the scores of {over}",
        "Threshold": f"{point.threshold:.3g} ({point.name})",
        "Model bundle": ", ".join(config.bundle),
        "SHA-256 of the bundle": record["bundle_sha256"],
        "SHA-256 of the network": record.get("model_sha256", "not recorded"),
        "Hash of the configuration": record["config_sha256"],
        "Software": "; ".join(software) or f"deepfake {record.get('version')}",
    }
