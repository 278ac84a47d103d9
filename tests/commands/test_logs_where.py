"""Which records are meant."""

import re
from datetime import UTC, datetime

import pytest

from redirect.commands.logs.where import Where, since, statuses

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
    ],
)
def test_since(text: str, expected: str) -> None:
    """A time ago, a date or a time becomes a time as the log writes it; UTC if it does not say."""
    assert since(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "1", "h", "1w", "-1h", "1.5h", "yesterday", "2026-13-01", "9999999999d", "1h "])
def test_since_refuses(text: str) -> None:
    """Anything else is refused, with what is allowed."""
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is neither a time ago, such as 90s, 15m, 1h or 2d")):
        since(text, NOW)


def test_statuses() -> None:
    """Statuses and classes of statuses are listed with commas."""
    assert statuses("422") == ("422",)
    assert statuses("302,4xx") == ("302", "4xx")


@pytest.mark.parametrize("text", ["", "42", "4x", "xxx", "600", "302,", "302 422", "4222"])
def test_statuses_refuses(text: str) -> None:
    """Anything else is refused, with what is allowed."""
    with pytest.raises(ValueError, match="is no status, such as 422"):
        statuses(text)


def test_a_path_is_compared_as_the_bytes_that_came() -> None:
    """The log has a path's bytes as latin-1, so that is what a prefix becomes; a record without a path has none."""
    assert Where(path_prefix="/é").takes({"path": "/Ã©/x"})
    assert not Where(path_prefix="/").takes({"path": None})
