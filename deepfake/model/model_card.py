"""The model card: a bundle's facts in words, as Markdown, for whoever is handed the folder.

Everything in it is read off ``bundle.json``; nothing is measured here.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepfake.model.bundle import BundleInfo
from deepfake.model.thresholds import POINT_NAMES
from deepfake.model.verdicts import explain_unproven
from deepfake.report import html

FILE = "model_card.md"
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!~<>&])")

LEVELS = (("val_video", "videos"), ("val", "single crops"))
NUMBERS: tuple[tuple[str, str, bool], ...] = (
    ("auc", "AUC", False),
    ("ap", "average precision", False),
    ("eer", "equal error rate", True),
    ("balanced_accuracy", "balanced accuracy", True),
    ("log_loss", "log loss", False),
    ("ece", "calibration error", False),
)
RECIPE_KEYS = ("model", "augment", "training")


def render_card(info: BundleInfo, aggregation: str = "mean") -> str:
    """The card of a bundle whose videos are scored by ``aggregation``."""
    sections = [
        ("Model card", _describe_bundle(info)),
        ("What it is for", _USE),
        ("Data", _describe_data(info)),
        ("Recipe", _describe_recipe(info)),
        ("Numbers on the validation split", _describe_numbers(info)),
        ("Operating points", _describe_points(info, aggregation)),
        ("Calibration", _describe_calibration(info, aggregation)),
        ("What it cannot do", _LIMITS),
    ]
    text = [f"{'#' if i == 0 else '##'} {title}\n\n{body}" for i, (title, body) in enumerate(sections)]
    return "\n\n".join(text) + "\n"


_USE = """It gives a face crop a score in [0, 1], high for manipulated, and a video the aggregate of its
faces. It was made to sort large archives for a person to look at. It is no evidence by itself, and no ground
to act against anybody."""

_LIMITS = """- It looks for face swaps and facial reenactment. Fully generated video, sound, and edits outside
  faces are out of scope.
- The numbers above are of the validation split, which chose the thresholds and the calibration; they flatter.
  `jobs/evaluate.py` on a test split, and on other data sets, gives the ones to quote.
- Detectors of this kind lose much of their accuracy on other sources, other methods, stronger compression
  and smaller faces than they were trained on. Only a measurement there tells how much.
- A score is not the probability that a video is fake. That depends on how many of the videos are: at 1 % of
  fakes, a detector that calls 3 % of the reals fake is wrong in most of its alarms.
- A video without a usable face gets no score, and that is no sign of being real."""


_HALVED = """They, the thresholds and the calibration are of one half of validation's identities, which had no
say in anything else; the other half chose the epoch."""

_CALIBRATED = """These videos chose the thresholds and the calibration, and nothing else. Whether the network
was trained on them is for its maker to say."""

_ONE_SPLIT = """**One split did all**: it chose the epoch, the thresholds and the calibration, because it has
fewer than 40 identities of a class. That flatters these numbers."""


def _describe_bundle(info: BundleInfo) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    of_hub = info.training.get("backbone") or {}
    network = f"`{info.backbone}` of {'KerasHub' if of_hub else 'keras.applications'} with a small head"
    size = info.input.size
    side = of_hub.get("side", size)
    resized = "" if side == size else f"; resized once, inside the network, to {side} x {side}"
    if info.adopted is not None:
        network = f"made elsewhere: `{_plain(info.adopted['file'])}`, sha256 `{info.adopted['sha256']}`"
    rows = [
        ("network", f"{network}, `{info.model_file}`"),
        *(
            [("started from", f"the detector of bundle `{info.training['started_from']}`")]
            if info.training.get("started_from")
            else []
        ),
        ("input", f"face crops, {size} x {size}, RGB, uint8 0..255, not normalised" + resized),
        *([("licence", _describe_licence(of_hub))] if of_hub else []),
        ("bundle", f"`{info.sha256}`"),
        ("weights", f"`{info.model_sha256}`"),
        ("made with", _plain(versions) or "unknown"),
    ]
    return _format_table(("", ""), rows)


def _describe_licence(of_hub: Mapping[str, Any]) -> str:
    text = (
        f"of the backbone's weights, where they began with its makers': {_plain(of_hub.get('licence', ''))}"
    )
    return f"{text} ({_plain(of_hub.get('terms', ''))}). It goes for this bundle, which holds them, too"


def _describe_data(info: BundleInfo) -> str:
    crops = info.training.get("crops", {})
    identities = info.training.get("identities", {})
    rows = []
    for split in ("train", "val"):
        methods = crops.get(f"{split}_fake_methods", {})
        numbers = (crops.get(f"{split}_{word}_crops") for word in ("real", "fake"))
        by_method = ", ".join(f"{_plain(name)} {count:,}" for name, count in methods.items()) or "-"
        rows.append((split, *("-" if count is None else f"{count:,}" for count in numbers), by_method))
    text = _format_table(("split", "real crops", "fake crops", "fakes by method"), rows)
    if info.adopted is not None:
        text = "Made elsewhere: what it was trained on is for its maker to say."
    if identities:
        counts = ", ".join(f"{len(names):,} in {split}" for split, names in identities.items())
        text += f"\n\nIdentities: {counts}. `bundle.json` names them, and evaluation refuses to test on them."
        if not info.training.get("people_named", True):
            text += (
                " **Who is on these videos is not known**: each is taken for a person of its own, so nothing "
                "here shows that nobody is in both splits."
            )
    detector = f"`{info.detector.name}`" if info.detector else "a detector that is not recorded"
    margin = f"margin {info.crop.margin:g} of the box" if info.crop else "margin not recorded"
    hashed = info.training.get("data_sha256")
    return f"{text}\n\nFaces found by {detector}, {margin}." + (f" Data hash `{hashed}`." if hashed else "")


def _describe_recipe(info: BundleInfo) -> str:
    if info.adopted is not None:
        return _describe_adopted(info.adopted)
    config = info.training.get("config", {})
    lines = []
    for section in RECIPE_KEYS:
        if values := config.get(section):
            words = ", ".join(
                f"{key} {_plain(_format_value(value))}" for key, value in values.items() if value is not None
            )
            lines.append(f"- `{section}`: {words}")
    ran, best = info.training.get("epochs_run"), info.training.get("best_epoch")
    if ran is not None:
        lines.append(f"- {ran} epochs were run; the weights are those of epoch {best}.")
    return "\n".join(lines) or "Not recorded."


def _describe_adopted(adopted: Mapping[str, Any]) -> str:
    """What its maker, or whoever adopted it, says; nothing of it was checked."""
    lines = ["Not trained here. What follows is what was said when it was adopted:\n"]
    for name, value in adopted.items():
        if name not in ("file", "sha256") and value is not None:
            lines.append(f"- {name.replace('_', ' ')}: {_plain(_format_value(value)) or '**not known**'}")
    return "\n".join(lines)


def _describe_numbers(info: BundleInfo) -> str:
    found = [(words, info.metrics[name]) for name, words in LEVELS if name in info.metrics]
    if not found:
        return "None recorded."
    counts = "; ".join(f"{m['n_real']:,} real and {m['n_fake']:,} fake {words}" for words, m in found)
    rows = []
    for key, name, is_share in NUMBERS:
        values = [(m.get(key), (m.get("intervals") or {}).get(key)) for _, m in found]
        rows.append((name, *(_format_interval(*value, is_share) for value in values)))
    table = _format_table(("", *(words for words, _ in found)), rows)
    text = f"{counts}. In brackets 95 % intervals over identities. "
    if info.adopted is not None:
        text += _CALIBRATED
    else:
        text += _HALVED if info.training.get("validation_halved") else _ONE_SPLIT
    return f"{text}\n\n{table}"


def _describe_points(info: BundleInfo, aggregation: str) -> str:
    decisions = info.look_up_decisions(aggregation)
    points, band = decisions.operating_points, decisions.uncertain
    reason = explain_unproven(info)
    text = f"**This bundle gives scores and no verdicts**: {_plain(reason)}.\n\n" if reason else ""
    if not points:
        rule = _plain(info.threshold_rule) or "rule not recorded"
        return f"{text}Threshold {info.threshold:.4g} ({rule}); no others."
    rows = []
    for point in points:
        reals = f"{_format_interval(point.fpr, point.fpr_interval)} of {point.real_videos:,}"
        fakes = f"{_format_interval(point.tpr, point.tpr_interval)} of {point.fake_videos:,}"
        rows.append((POINT_NAMES.get(point.name, _plain(point.name)), f"{point.threshold:.4g}", reals, fakes))
    text += (
        f"Thresholds on a video's score (the {aggregation} of its faces), chosen on validation videos. A "
        "score at or above the threshold is called fake.\n\n"
    )
    text += _format_table(("chosen for", "threshold", "reals called fake", "fakes called fake"), rows)
    notes = [f"\n- {_plain(point.note)}" for point in points if point.note]
    if notes:
        text += "\n" + "".join(notes)
    if band is not None and band.low < band.high:
        text += (
            f"\n\nBetween {band.low:.4g} and {band.high:.4g} a video is better left undecided: at most "
            f"{100 * band.error:g} % of the reals scored higher, and of the fakes lower."
        )
    return text


def _describe_calibration(info: BundleInfo, aggregation: str) -> str:
    found = info.look_up_decisions(aggregation).calibration
    if found is None:
        return "None."
    if found.note:
        return _plain(found.note)
    losses = ", ".join(f"{name} {loss:.4f}" for name, loss in found.log_loss.items())
    curve = f"sigmoid({found.slope:.4g} x logit(score){_format_offset(found.offset)})"
    if found.method == "none":
        curve = "the score as it is"
    share = html.format_percent(found.share_of_fakes)
    return (
        f"Probability of fake: {curve}, where {share} of videos are fake. Chosen by log loss on identities "
        f"that each fit left out: {losses}."
    )


def _format_offset(offset: float) -> str:
    return f" {'-' if offset < 0 else '+'} {abs(offset):.4g}" if offset else ""


def _format_interval(value: float | None, interval: Sequence[float] | None, is_share: bool = True) -> str:
    """A number, with the interval that it lies in where there is one."""
    form = html.format_percent if is_share else html.format_decimal
    words, *ends = map(form, (value, *(interval or ())))
    return f"{words} [{', '.join(ends)}]" if ends else words


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_format_cell(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """What others wrote, as CommonMark shows it letter by letter; a bar is escaped with its cell."""
    return _MARKUP.sub(r"\\\1", html.make_visible(str(text)))


def _format_cell(text: str) -> str:
    return html.make_visible(text).replace("|", r"\|")
