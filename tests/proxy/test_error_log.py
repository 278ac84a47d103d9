"""The error log of a route: which requests stand there, over each way in."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.coroutines import until
from support.gateway import Forwarding
from support.origin import Behaviour, answer, close_at_once, hang, head, says


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return tmp_path / "errors.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


FAILURES: dict[str, tuple[Behaviour, str, int, int | None]] = {
    "an answer of 5xx": (says(answer(b"theirs", status="500 Oops")), "status", 500, 500),
    "late": (hang, "late", 504, None),
    "closed": (close_at_once, "cut", 502, None),
    "cut within the answer": (says(head("200 OK", "Content-Length: 9") + b"part", close=True), "cut", 200, 200),
    "no HTTP": (says(b"SSH-2.0-OpenSSH_9.9\r\n"), "broken", 502, None),
}


@pytest.mark.parametrize(("behaviour", "what", "status", "origin_status"), FAILURES.values(), ids=FAILURES)
async def test_a_failed_request_has_a_line(
    behaviour: Behaviour, what: str, status: int, origin_status: int | None, forwarding: Forwarding, errors: Path
) -> None:
    """It says what the access record says, and what the origin failed to do."""
    async with forwarding(f'error_log = "{errors}"\ntimeouts = {{ answer = 0.1 }}\nretries = 0') as gateway:
        gateway.origin.default = behaviour
        await gateway.ask("GET /x?y HTTP/1.1")
        record = await gateway.record()
        (line,) = lines(errors)
        assert (line["what"], line["status"], line["origin_status"]) == (what, status, origin_status)
        same = ("request_id", "route", "pool", "origin", "method", "path", "status", "origin_status", "detail", "tries")
        assert {key: line[key] for key in same} == {key: record[key] for key in same}
        assert 0 <= line["after_us"] - (100_000 if what == "late" else 0) < 5_000_000


async def test_what_is_no_failure_of_the_origin_has_no_line(forwarding: Forwarding, errors: Path) -> None:
    """An answer, a 4xx, a client that left, and a request that another origin answered."""
    async with forwarding(f'error_log = "{errors}"', origins=2) as gateway:
        for origin in gateway.origins:
            origin.on("/missing", says(answer(b"", status="404 Not Found")))
            origin.on("/hang", hang)
        gateway.origins[0].on("/once", close_at_once)
        for target in ("/", "/missing", "/once", "/once"):
            await gateway.ask(f"GET {target} HTTP/1.1")
        client = await gateway.sent("GET /hang HTTP/1.1")
        await until(lambda: any("/hang" in origin.targets for origin in gateway.origins))
        client.reset()
        records = await gateway.records(5)
        assert sorted(record["status"] for record in records) == [200, 200, 200, 404, 499]
        assert {record["tries"] for record in records} == {1, 2}
        assert lines(errors) == []


async def test_an_origin_that_refuses_connections_has_a_line(forwarding: Forwarding, errors: Path) -> None:
    async with forwarding(f'error_log = "{errors}"', hosts='"127.0.0.1:1" = 1') as gateway:
        assert (await gateway.ask("GET / HTTP/1.1")).status == 503
        (line,) = lines(errors)
        assert (line["what"], line["origin"], line["tries"]) == ("refused", "127.0.0.1:1", 1)
