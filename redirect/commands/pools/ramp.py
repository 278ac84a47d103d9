"""`redirect pools ramp`: gives an origin another share for a while, in the running service. The file stays as it is."""

import json
import re
from typing import Any
from urllib.parse import urlencode

import click

from redirect.commands.admin import ask
from redirect.commands.loading import setting

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no duration such as 90s, 10m, 1h or 2d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _percent(text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no share such as 10%") from None


@click.command(short_help="Give an origin another share for a while.")
@click.argument("pool", required=False)
@click.argument("origin", required=False)
@click.argument("shares", metavar="[[FROM] TO]", nargs=-1, type=_percent)
@click.option("--over", type=duration, help="How long it takes from FROM to TO; at once if left out.")
@click.option("--hold", type=duration, help="How long TO holds before the file counts again; a day if left out.")
@click.option("--end", is_flag=True, help="Have the file count again now.")
@setting("admin_bind")
def ramp(
    pool: str | None,
    origin: str | None,
    shares: tuple[float, ...],
    over: float | None,
    hold: float | None,
    end: bool,
    admin_bind: str | None,
) -> None:
    """Give ORIGIN the share TO of what POOL gets, at once or from FROM on over some time, in the running service.

    The other origins keep their proportions in the rest. The file stays as it is, and counts again when the time is
    over. Without arguments, list what is in force. Each replica has its own overrides.
    """
    if pool is None and over is None and hold is None and not end:
        _print(ask(admin_bind, "GET", "/weights", key="overrides")["overrides"])
    elif pool is None or origin is None or (not end and len(shares) not in (1, 2)) or (end and shares):
        raise click.UsageError("give POOL, ORIGIN and TO, perhaps with FROM before it; or POOL, ORIGIN and --end")
    elif end:
        query = urlencode({"pool": pool, "origin": origin}, errors="surrogateescape")
        ask(admin_bind, "DELETE", f"/weights?{query}", key="overrides", refused=2)
        click.echo(f"the file counts again for {origin} of {pool}")
    else:
        first = shares[0] if len(shares) == 2 else None
        wanted = {"pool": pool, "origin": origin, "from": first, "to": shares[-1], "over": over, "hold": hold}
        said = {name: value for name, value in wanted.items() if value is not None}
        _print([ask(admin_bind, "POST", "/weights", json.dumps(said).encode(), key="share", refused=2)])


def _print(overrides: list[dict[str, Any]]) -> None:
    if not overrides:
        click.echo("the file counts everywhere")
    for each in overrides:
        click.echo(f"{each['pool']}  {described(each)}")


def described(override: dict[str, Any]) -> str:
    """Of which origin it is, its share and its end."""
    way = f"{override['to']:g} % since {override['reached']}"
    if override["share"] != override["to"]:
        way = f"{override['share']:g} % now, {override['to']:g} % at {override['reached']}"
    return f"{override['origin']}  {way}, until {override['ends']}"
