"""The templates. What people typed is made harmless here: Jinja escapes HTML, `visible` what cannot be seen."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from redirect.core.wording import visible

_ABSENT = "\N{EN DASH}"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def render(template: str, **values: Any) -> Markup:
    html = _templates.get_template(f"{template}.html").render(values)
    return Markup(html).strip()  # noqa: S704  what is not ours is escaped by now


def _visible(value: object) -> str:
    return value if isinstance(value, Markup) else visible(str(value))


def _name(name: str) -> Markup:
    """A name that is broken before a dot, where it must be."""
    return Markup("<wbr>.").join(visible(name).split("."))


def _percent(share: float | None) -> str:
    return _ABSENT if share is None else f"{share:.2%}"


def _duration(microseconds: float | None) -> str:
    if microseconds is None:
        return _ABSENT
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    return f"{microseconds / 1000:.3g} ms" if microseconds < 999_500 else f"{microseconds / 1_000_000:.3g} s"


def _rate(per_second: float | None) -> str:
    if per_second is None:
        return _ABSENT
    return f"{per_second:,.0f}" if per_second >= 10 or per_second == int(per_second) else f"{per_second:.2g}"


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ago(time: float | None, now: float) -> str:
    """How long ago a Unix time was, in an element that has the time too."""
    if time is None:
        return "never"
    seconds = max(0, int(now - time))
    unit, size = next((unit for unit in _UNITS if unit[1] <= seconds), _UNITS[-1])
    return Markup('<time datetime="{}" title="{}">{} {} ago</time>').format(
        datetime.fromtimestamp(time, UTC).isoformat(), _utc(time), seconds // size, unit
    )


_templates = Environment(autoescape=True, undefined=StrictUndefined, finalize=_visible, trim_blocks=True)
_templates.loader = FileSystemLoader(Path(__file__).parent)
_numbers = {"count": "{:,}".format, "duration": _duration, "rate": _rate}
_templates.globals |= _numbers
_templates.filters |= _numbers | {"name": _name, "percent": _percent, "utc": _utc, "ago": _ago}
