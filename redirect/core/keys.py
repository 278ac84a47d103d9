"""What a key of the TOML may hold.

The rule: a key is stated once, as the field that keeps its value:

    timeout: Annotated[float, seconds(0.1), "seconds until a probe has failed"] = 2

is its name, what is allowed, its help text and its default. `config.schema` checks values against it.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from ipaddress import IPv4Address
from itertools import islice
from typing import Any, NamedTuple

from redirect.core.authority import Authority, parse

_MAX_REASONS = 10
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Limit(NamedTuple):
    """What is allowed beyond the type: in words, as bounds in pydantic's names, and as a function that returns the
    value to keep or raises ValueError. Of a table, the function is for a value in its place."""

    rule: str
    bounds: dict[str, Any] = {}  # noqa: RUF012  nothing writes to it
    convert: Callable[[Any], object] | None = None


def whole(least: int, most: int) -> Limit:
    return Limit(f"must be a whole number from {least} to {most}", {"ge": least, "le": most})


def seconds(least: float, most: float = 3600) -> Limit:
    return Limit(f"must be a number of seconds from {least} to {most}", {"ge": least, "le": most})


def text(rule: str, least: int, most: int) -> Limit:
    return Limit(f"{rule} of {least} to {most} characters", {"min_length": least, "max_length": most})


def one_of(*values: str | int) -> Limit:
    def convert(value: str | int) -> str | int:
        if value not in values:
            names = [each for each in values if isinstance(each, str)]
            near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.75)
            raise ValueError(f'did you mean "{near[0]}"?' if near else "")
        return value

    words = [f'"{value}"' if isinstance(value, str) else str(value) for value in values]
    return Limit(f"must be {' or '.join(words) if len(words) < 3 else 'one of ' + ', '.join(words)}", convert=convert)


def given(kept: Any) -> dict[str, Any]:
    """The keys of a table, as the dataclass `kept` has it, that differ from their defaults."""
    return {key.name: value for key in fields(kept) if (value := getattr(kept, key.name)) != key.default}


def origin_authority(host: str) -> Authority:
    """Raises ValueError also for what browsers would not take for the host that it seems to be."""
    authority = parse(host)
    if host.endswith(":"):
        raise ValueError("the port is missing")
    if _NUMBER.fullmatch(authority.host.rpartition(".")[2]):
        IPv4Address(authority.host)  # browsers read a name that ends in a number as an address
    return authority


def refuse(reasons: Iterable[str]) -> None:
    """Raises one ValueError with all reasons, if there are any: who mends a value wants to know them at once."""
    if all_of_them := "; ".join(islice(reasons, _MAX_REASONS)):
        raise ValueError(all_of_them)


def distinct(fault_of: Callable[[str], str]) -> Callable[[Any], tuple[str, ...]]:
    """Takes an array in which something is, each thing once and without a fault."""

    def convert(values: list[str]) -> tuple[str, ...]:
        if not values:
            raise ValueError("there is none")
        twice = (f"{value} is there twice" if value in values[:at] else "" for at, value in enumerate(values))
        refuse(filter(None, (fault_of(value) or again for value, again in zip(values, twice, strict=True))))
        return tuple(values)

    return convert


FLAG = Limit("must be true or false")

HOST = Limit(
    "must be a name or an IP address with an optional port, without scheme, user, path or blanks",
    convert=lambda host: str(origin_authority(host)),
)
