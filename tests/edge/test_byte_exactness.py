"""Location carries the target's bytes as they came: nothing decoded, collapsed or re-encoded."""

import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.wire import FRONTS, Wire, head

from redirect.edge.limits import MAX_REQUEST_LINE_BYTES

# What the parser knows of the registry of methods, but for CONNECT, which has no path.
METHODS = (
    "GET HEAD POST PUT DELETE PATCH OPTIONS TRACE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH REPORT "
    "MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR BIND REBIND UNBIND ACL LINK "
    "UNLINK QUERY"
).split()

VISIBLE = string.ascii_letters + string.digits + string.punctuation
PIECES = ["//", "%2F", "%2f", "%00", "%zz", "%", "..", "/./", ";", "?", "??", "&&", "a=b&a=c", "+", "@", ":", "\\"]

targets = st.lists(st.sampled_from(PIECES) | st.text(VISIBLE)).map(lambda pieces: "/" + "".join(pieces))


def redirected(method: str, target: str) -> str | None:
    """Where a request is sent, by either front, as the first one of its connection and as one that repeats another."""
    sent = [head(f"{method} / HTTP/1.1"), head(f"{method} {target} HTTP/1.1")]
    locations = set()
    with tempfile.TemporaryDirectory() as folder:
        for front in FRONTS:
            for pieces in (sent, sent[1:]):
                answers, _, _ = Wire(front, Path(folder, "access.jsonl")).exchange(pieces)
                assert [answer.status for answer in answers] == [302] * len(pieces)
                locations.add(answers[-1].location)
    (location,) = locations
    return location


@pytest.mark.generated
@pytest.mark.slow
@generated(300)
@given(st.sampled_from(METHODS), targets)
def test_every_target_of_every_method(method: str, target: str) -> None:
    """Whatever visible bytes a path and query hold, Location has the same behind the origin."""
    assert redirected(method, target) == f"http://origin-1{target}"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str) -> None:
    """Every method is redirected, with the pool's status."""
    assert redirected(method, "/a//b?c=%2F&c=d") == "http://origin-1/a//b?c=%2F&c=d"


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    ["/", "//x", "//x//", "/a%2Fb", "/?", "/a?", "/?a=b&a=c", "/a/../b/./c", "/%e9%C3%A9", "/a;b=c", "/a?b?c", "/a#b"],
)
def test_what_libraries_like_to_tidy(target: str) -> None:
    """Empty queries, doubled slashes, dot segments, escapes in either case and fragments survive."""
    assert redirected("GET", target) == f"http://origin-1{target}"


def test_the_longest_query() -> None:
    """A query survives up to the longest request line that is accepted, 8 KiB."""
    target = f"/?{'q' * (MAX_REQUEST_LINE_BYTES - len('GET /? HTTP/1.1'))}"
    assert redirected("GET", target) == f"http://origin-1{target}"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://asked.example/a?b", "/a?b"),
        ("HTTPS://asked.example:8443//a%2F?", "//a%2F?"),
        ("http://asked.example", "/"),
        ("http://asked.example?a", "/?a"),
        ("http://[2001:db8::1]/a", "/a"),
    ],
)
def test_absolute_form(target: str, expected: str) -> None:
    """An absolute-form target is redirected by its path and query; an empty path is /."""
    assert redirected("GET", target) == f"http://origin-1{expected}"
