"""Static pages from the templates beside this file: one environment, and text made safe to show.

A page is one file that loads nothing from the network: styles and scripts are inside it, and its content
security policy forbids anything else.
"""

import base64
import hashlib
import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from deepfake import __version__

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, **values: Any) -> str:
    """A page as HTML text; every value is escaped unless it is ``Markup``."""
    script = values.get("script")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data: file:"
    if script is not None:
        digest = base64.b64encode(hashlib.sha256(str(script).encode("utf-8")).digest()).decode("ascii")
        policy += f"; script-src 'sha256-{digest}'"
    return _make_environment().get_template(template).render(policy=policy, version=__version__, **values)


def render_part(template: str, **values: Any) -> Markup:
    """A part of a page, to be put into one as it is; its values are escaped as a page's are."""
    return Markup(_make_environment().get_template(template).render(**values))


def quote_for_css(text: str) -> Markup:
    """A string of CSS that shows the text, whatever is in it."""
    return Markup('"' + "".join(f"\\{ord(c):x} " for c in make_visible(text)) + '"')


@cache
def read_asset(name: str) -> Markup:
    """A style sheet or script of our own, to be put into a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def make_script_json(value: Any) -> Markup:
    """JSON that can stand inside ``<script type="application/json">`` whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def make_visible(text: str) -> str:
    """Text in which nothing is hidden: control, format and odd space characters as ``\\n``, ``\\u202e``.

    A file name may hold a newline, or a mark that reverses the direction of writing and so shows
    ``exe.4pm`` for ``mp4.exe``. Letters of any script stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode("ascii") if _is_hidden(c) else c for c in text)


def make_data_uri(content: bytes, media_type: str) -> Markup:
    """Bytes as a ``data:`` URI, to be put into a page as it is."""
    return Markup(f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}")


def format_count(number: int | None) -> str:
    """``12,345``; a dash for None."""
    return "\u2013" if number is None else f"{number:,}"


def format_decimal(number: float | None, places: int = 3) -> str:
    """``0.975``; a dash for None, which means undefined."""
    return "\u2013" if number is None else f"{number:.{places}f}"


def count_places(*numbers: float, least: int = 3, most: int = 8) -> int:
    """Decimal places from ``least`` on with which different numbers look different."""
    for places in range(least, most):
        if len({format_decimal(number, places) for number in numbers}) == len(set(numbers)):
            return places
    return most


def format_percent(share: float | None, places: int = 1) -> str:
    """``97.5 %``; a dash for None. Never rounds up to 100 or down to 0."""
    if share is None:
        return "\u2013"
    nearest = round(100 * share, places)
    step = 10.0**-places
    if share < 1 and nearest >= 100:
        nearest = 100 - step
    if share > 0 and nearest <= 0:
        return f"< {step:.{places}f} %"
    return f"{nearest:.{places}f} %"


def format_points(difference: float | None) -> str:
    """``+3.3`` from a difference of two shares, in points of a percent; a dash for None."""
    return "\u2013" if difference is None else f"{100 * difference:+.1f}"


def format_ratio(log_ratio: float | None) -> str:
    """``14``, or ``1/14`` below 1, to two digits, from its log10; a dash for None."""
    if log_ratio is None:
        return "\u2013"
    size = float(f"{10.0 ** abs(log_ratio):.2g}")
    words = f"{size:,.0f}" if size >= 10 or size.is_integer() else f"{size:.1f}"
    return words if log_ratio >= 0 or size == 1 else f"1/{words}"


def format_clock(tenths: int | None) -> str:
    """``1:02:03.4`` or ``2:03.4`` from tenths of a second; a dash for None."""
    if tenths is None:
        return "\u2013"
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


@cache
def _make_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": make_visible}
    environment.filters |= {
        "count": format_count,
        "decimal": format_decimal,
        "percent": format_percent,
        "clock": format_clock,
        "points": format_points,
        "ratio": format_ratio,
        "css": quote_for_css,
    }
    environment.globals |= {"asset": read_asset, "places_apart": count_places}
    return environment


def _is_hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp") or (category == "Zs" and character != " ")
