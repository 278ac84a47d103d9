"""Refusals of the admin listener: requests with a wrong token: each is counted, and few lines are written."""

import pytest

from redirect.admin import refusal
from redirect.admin.refusal import LINE_SECONDS, WrongTokens
from redirect.telemetry.scoreboard import Common


def test_a_line_a_minute_names_the_peer(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(refusal, "monotonic", lambda: now[0])
    noted = WrongTokens(Common())
    for wait, peer in ((0, "192.0.2.1"), (1, "192.0.2.2"), (LINE_SECONDS, "192.0.2.1"), (LINE_SECONDS, None)):
        now[0] += wait
        noted.note(peer)
    line = "the admin listener refused {}, which sent a wrong token; {} such requests came since the start"
    assert [record.getMessage() for record in caplog.records] == [
        line.format("192.0.2.1", 1),
        line.format("192.0.2.1", 3),
        line.format("a peer without an address", 4),
    ]
