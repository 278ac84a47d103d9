"""What a client that is refused gets: a problem (RFC 9457), or a page with the same words where it prefers that."""

import pytest
from support.wire import Wire, head

from redirect.core.decision import Decision
from redirect.edge.response import fields_and_body, prefers_html

BROWSER = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
PAGE = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        pytest.param(b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True, id="browser"),
        pytest.param(b"text/html", True, id="nothing else"),
        pytest.param(b"TEXT/HTML; charset=utf-8 ; Q=0.9, */*;q=0.1", True, id="spelled otherwise"),
        pytest.param(b"*/*;q=0.8, text/html;q=0.9", True, id="in another order"),
        pytest.param(b"", False, id="nothing said"),
        pytest.param(b"*/*", False, id="anything"),
        pytest.param(b"text/*", False, id="any text"),
        pytest.param(b"application/json, text/plain, */*", False, id="script"),
        pytest.param(b"text/html, */*", False, id="equal"),
        pytest.param(b"text/html;q=0.5, application/problem+json", False, id="less"),
        pytest.param(b"text/html;q=0", False, id="not at all"),
        pytest.param(b"text/html;q=0.5, application/*;q=0.6", False, id="a range is more"),
        pytest.param(b"\xff/;q=x,,;q=1,/,text/htmlx", False, id="garbage"),
    ],
)
def test_who_prefers_a_page(accept: bytes, is_page: bool) -> None:
    assert prefers_html(accept) == is_page


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_browser_gets_a_page(method: str, wire: Wire) -> None:
    """Read in one go or field by field; caches are told what decided."""
    sent = [head(f"{method} / HTTP/1.1", *accepts, host="origin-1") for accepts in ([], [BROWSER])]
    problem, page = wire.exchange(sent, pools=b'[p]\nis_default = true\nweighted_hosts = { "origin-1" = 1 }\n').answers
    assert [answer.headers["content-type"] for answer in (problem, page)] == [PROBLEM, PAGE]
    assert [(answer.status, answer.headers["vary"]) for answer in (problem, page)] == [(422, "accept")] * 2
    if method != "HEAD":
        assert b"<title>422 Unprocessable Content</title>" in page.body
        assert b"a redirect would loop" in page.body


def test_what_a_page_says_of_the_request_is_no_markup() -> None:
    refusal = Decision(405, detail='</p><script>alert("1")</script>')
    _, body = fields_and_body(refusal, "/", "id", [(b"Accept", b"text/html")])
    assert b"<script" not in body
    assert b"&lt;/p&gt;&lt;script&gt;alert(&quot;1&quot;)" in body
