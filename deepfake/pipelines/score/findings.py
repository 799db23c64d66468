"""What may be said of one video in words: how much its score speaks for either proposition, and how far.

A verdict is a decision at a threshold, a likelihood ratio is evidence. Where they differ, the page says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepfake.metrics import name_support
from deepfake.model.thresholds import OperatingPoint
from deepfake.model.verdicts import VERDICT_WORDS
from deepfake.report import html

Row = Mapping[str, Any]
Interval = tuple[float, float]
PROPOSITIONS = {
    "fake": "a face in the video was swapped or reenacted, as in the fake videos of validation",
    "real": "no face in it was, as in the real videos of validation",
}
CREDENTIALS = {
    "none": "There are none. That says nothing: most files have none, and they are easily removed.",
    "unread": "They could not be read: the file was not read whole or is damaged, or it says that they lie "
    "elsewhere, where nobody looks.",
    "valid": "The signature holds: the file is as it was signed. No trust list says who the signer is.",
    "trusted": "The signature holds: the file is as it was signed, by somebody whom the trust list names.",
    "invalid": "There are some, and they do not hold: the file or they were altered, or they are damaged.",
}
_ROUNDING = 1e-9


def describe_ratio(video: Row, prevalence: Sequence[float]) -> dict[str, Any] | None:
    """A video's likelihood ratio as its page has it; None where there is none.

    ``ratio``, ``low``, ``high`` are log10; ``bounded`` whether the ratio is as far out as it may be;
    ``words`` say which proposition the score supports, ``meaning`` what the number says, ``beside`` why the
    verdict says something else ("" where it does not); ``posteriors`` are pairs of a share of fakes and what
    it becomes among videos with such a score.
    """
    ratio, low, high = (video[f"log10_lr{end}"] for end in ("", "_low", "_high"))
    if ratio is None:
        return None
    support, (favoured, other) = name_support(ratio), ("fake", "real") if ratio >= 0 else ("real", "fake")
    first, second = ("first", "second") if favoured == "fake" else ("second", "first")
    if support is None:
        words = "supports neither proposition"
        meaning = "Such a score is about as probable for a real video as for a fake one."
    else:
        words = f"provides {support} support for the {first} proposition over the {second}"
        meaning = (
            f"It is about {html.format_ratio(abs(ratio))} times as probable for a {favoured} video as for a "
            f"{other} one. How probable a fake is depends on what is known besides."
        )
    return {
        "ratio": ratio,
        "low": low,
        "high": high,
        "bounded": not low + _ROUNDING < ratio < high - _ROUNDING,
        "words": words,
        "meaning": meaning,
        "beside": explain_beside_verdict(video["verdict"], ratio),
        "posteriors": [(share, update_share(share, ratio)) for share in prevalence if 0 < share < 1],
    }


def explain_beside_verdict(verdict: str, ratio: float) -> str:
    """Why a verdict stands beside a log10 ratio that says something else; "" where it does not."""
    support, favoured = name_support(ratio), "fake" if ratio >= 0 else "real"
    if support is not None and verdict == "uncertain":
        return (
            f"The verdict is uncertain all the same: {support} support for {favoured} is some evidence, and "
            "less than the operating point in force asks for before it decides."
        )
    if verdict == "uncertain" or (support is not None and verdict == f"likely_{favoured}"):
        return ""
    says = f"supports {favoured}" if support else "supports neither"
    return (
        f"The verdict says {VERDICT_WORDS[verdict]}, the ratio {says}. The one goes by a threshold that was "
        "chosen for its error rates, the other by the calibrated score; so near the line they may differ. "
        "Take such a video for undecided."
    )


def describe_error_rates(point: OperatingPoint) -> list[str]:
    """How often an operating point erred in validation, of each class, with counts and intervals."""
    reals, fakes = point.real_videos, point.fake_videos
    alarms, missed = point.fpr_interval, (1 - point.tpr_interval[1], 1 - point.tpr_interval[0])
    return [
        _word_rate(reals, "real", "reached the threshold", point.fpr, alarms, point.effective_reals),
        _word_rate(fakes, "fake", "did not reach it", 1 - point.tpr, missed, point.effective_fakes),
    ]


def _word_rate(
    videos: int, kind: str, what: str, rate: float, interval: Interval, effective: Interval | None
) -> str:
    low, high = (html.format_percent(end) for end in interval)
    worth = ""
    if effective and round(effective[1]) < videos:
        worth = f", as of {effective[1]:.0f} independent ones, for some show the same people"
    return (
        f"Of {videos:,} {kind} videos {round(rate * videos):,} {what}: {html.format_percent(rate)} "
        f"(95 % interval {low} to {high}{worth})."
    )


def describe_credentials(video: Row) -> dict[str, Any] | None:
    """A video's content credentials as its page has them, ``words`` and ``facts``; None: nobody looked."""
    state = video.get("credentials")
    if state is None:
        return None
    facts = {
        "Signed by": video["credentials_signer"],
        "Signed at": video["credentials_time"] or (state in ("valid", "trusted") and "no time stamp says it"),
        "Says it was": video["credentials_actions"],
        "Problem": video["credentials_problem"],
    }
    return {"words": CREDENTIALS[state], "facts": {label: words for label, words in facts.items() if words}}


def update_share(share: float, ratio: float) -> float:
    """The share of fakes among videos of a log10 ratio where ``share`` of all are fakes (Bayes)."""
    odds = share / (1.0 - share) * 10.0**ratio
    return odds / (1.0 + odds)


def phrase_ratio(ratio: float | None) -> str | None:
    """A log10 ratio for a table, as ``14, moderate for fake``."""
    if ratio is None:
        return None
    support = name_support(ratio)
    side = f"{support} for {'fake' if ratio >= 0 else 'real'}" if support else "for neither"
    return f"{html.format_ratio(ratio)}, {side}"
