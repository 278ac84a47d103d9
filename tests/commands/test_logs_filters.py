"""Which records the options select."""

import re
from datetime import UTC, datetime

import click
import pytest

from redirect.commands.logs.filters import Filters, moment, statuses

NOW = datetime(2026, 11, 20, 12, 0, 0, 5000, UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-11-20T11:58:30.005Z"),
        ("15m", "2026-11-20T11:45:00.005Z"),
        ("1h", "2026-11-20T11:00:00.005Z"),
        ("2d", "2026-11-18T12:00:00.005Z"),
        ("2026-11-20", "2026-11-20T00:00:00.000Z"),
        ("2026-11-20T19:43:07Z", "2026-11-20T19:43:07.000Z"),
        ("2026-11-20T19:43:07.123456+01:00", "2026-11-20T18:43:07.123Z"),
        ("2026-11-20 19:43", "2026-11-20T19:43:00.000Z"),
        ("2026-11-20t19:43:07z", "2026-11-20T19:43:07.000Z"),
        ("1h30m", "2026-11-20T10:30:00.005Z"),
        ("1w", "2026-11-13T12:00:00.005Z"),
        ("1H ", "2026-11-20T11:00:00.005Z"),
        ("now", "2026-11-20T12:00:00.005Z"),
        ("today", "2026-11-20T00:00:00.000Z"),
        ("yesterday", "2026-11-19T00:00:00.000Z"),
        ("@1795203787", "2026-11-20T19:43:07.000Z"),
    ],
)
def test_a_moment_is_a_time_ago_or_a_date_or_a_time(text: str, expected: str) -> None:
    """A time without an offset is UTC."""
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "1", "h", "1y", "-1h", "1.5h", "tomorrow", "2026-13-01", "9999999999d", "@x"])
def test_a_moment_is_nothing_else(text: str) -> None:
    with pytest.raises(click.BadParameter, match=re.escape(f"{text!r} is neither a time ago, such as 90s, 15m, 1h")):
        moment(text, NOW)


def test_statuses_and_classes_are_listed_with_commas() -> None:
    assert statuses("422") == ((422, 422),)
    assert statuses("302,4xx, 5XX") == ((302, 302), (400, 499), (500, 599))
    assert statuses("400-404,500+") == ((400, 404), (500, 599))


def test_until_is_the_first_moment_that_is_too_late() -> None:
    filters = Filters(since="2026-11-20", until="2026-11-21")
    times = [
        "2026-11-19T23:59:59.999Z",
        "2026-11-20T00:00:00.000Z",
        "2026-11-20T23:59:59.999Z",
        "2026-11-21T00:00:00.000Z",
    ]
    assert [filters.match_time(time) for time in times] == [False, True, True, False]


@pytest.mark.parametrize(
    "text", ["", "42", "4x", "xxx", "600", "302,", "302 422", "4222", "4xx-5xx", "4xx+", "400-", "400-9"]
)
def test_statuses_refuses_anything_else(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no status, such as 422"):
        statuses(text)


def test_statuses_refuses_a_range_from_its_end() -> None:
    """It would select nothing, without a word."""
    with pytest.raises(click.BadParameter, match="'500-400' ends before it begins; write 400-500"):
        statuses("302, 500-400")


def test_a_path_is_compared_as_the_bytes_that_came() -> None:
    """The log has a path's bytes as latin-1; a record without a path has no prefix but the empty one."""
    assert Filters(path_prefix="/é").match({"path": "/Ã©/x", "time": ""})
    assert not Filters(path_prefix="/").match({"path": None, "time": ""})
    assert Filters(path_prefix="").match({"path": None, "time": ""})
