"""What the access log leaves out, on wish: values of query strings, and addresses of clients."""

import json
from typing import Any

import pytest

from redirect.core.decision import Decision
from redirect.core.request import Head
from redirect.telemetry.access_log import KEYS, LineFormatter
from redirect.telemetry.privacy import KeptClientIp, KeptQuery, formatter, masked, shortened
from redirect.telemetry.record import Record, logged_head

TO_1 = Decision(302, "pool-a", "origin-1", "http://origin-1")


def line(
    query: KeptQuery, client_ip: KeptClientIp, target: str = "/x?a=1&b=2", referer: str | None = "http://r/?c=3"
) -> dict[str, Any]:
    """The line of a request for `target`."""
    head = Head("p", "http", None, "a.example", "203.0.113.77", 'agent "', referer, "id-1")
    record: Record = (TO_1, logged_head("GET", head), "id-1", target, 0, 1000, "hash", None)
    found: dict[str, Any] = json.loads(formatter(query, client_ip).format([record]))
    assert [*found] == [key.name for key in KEYS]
    assert (found["user_agent"], found["request_id"], found["pool_requested"]) == ('agent "', "id-1", "p")
    return found


@pytest.mark.parametrize(
    ("kept", "location", "query", "referer"),
    [
        ("keep", "http://origin-1/x?a=1&b=2", "a=1&b=2", "http://r/?c=3"),
        ("mask", "http://origin-1/x?a=*&b=*", "a=*&b=*", "http://r/?c=*"),
        ("drop", "http://origin-1/x", "", "http://r/"),
    ],
)
def test_query_strings(kept: KeptQuery, location: str, query: str, referer: str) -> None:
    """Wherever they stand: the log has them three times."""
    found = line(kept, "keep")
    assert (found["location"], found["query"], found["referer"]) == (location, query, referer)
    assert (found["path"], found["client_ip"]) == ("/x", "203.0.113.77")


@pytest.mark.parametrize(("kept", "shown"), [("keep", "203.0.113.77"), ("truncate", "203.0.113.0"), ("drop", None)])
def test_client_addresses(kept: KeptClientIp, shown: str | None) -> None:
    found = line("keep", kept, referer=None)
    assert (found["client_ip"], found["query"], found["referer"]) == (shown, "a=1&b=2", None)


@pytest.mark.parametrize(
    ("query", "shown"),
    [("a=1&b=2", "a=*&b=*"), ("a=&b", "a=&*"), ("token", "*"), ("a=b=c&&d=1", "a=*&&d=*"), ("", ""), ("=secret", "=*")],
)
def test_a_mask_leaves_names(query: str, shown: str) -> None:
    """What has no name may be a value."""
    assert masked(query) == shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [("203.0.113.77", "203.0.113.0"), ("2001:db8:1:2:3::4", "2001:db8:1::"), (None, None), ("testclient", None)],
)
def test_a_network_is_left_of_an_address(address: str | None, shown: str | None) -> None:
    assert shortened(address, "truncate") == shown


def test_where_all_is_kept_nothing_runs() -> None:
    assert type(formatter("keep", "keep")) is LineFormatter
