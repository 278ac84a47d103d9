"""Errors in Sentry: which are sent, and what is not."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from support.sentry import sentry
from support.service import controller, ended, running, wait_for

pytestmark = pytest.mark.processes

# A program with a master and a worker, both of which log a fault about a request. What must not be sent is in no line
# of it: since Python 3.13 lines of `python -c` are part of a traceback.
PROGRAM = """
import logging, os, sys
from redirect.telemetry.sentry import begin
begin(sys.argv[1], is_masked=sys.argv[2] == "masked")
worker = os.fork()
query, client = "token=s3" + "cret", "192.0.2" + ".7"
try:
    raise ValueError(f"bad {query} of {client}")
except ValueError:
    logging.getLogger("gunicorn.error").exception("no decision for %s of %s", query, client)
logging.getLogger("gunicorn.error").warning("a warning")
if worker:
    os.waitpid(worker, 0)
"""


@pytest.mark.parametrize("masking", ["kept", "masked"])
def test_errors_of_each_process_are_sent(masking: str) -> None:
    """With the traceback; nothing about the request where the access log is masked, and no variables or arguments."""
    with sentry() as (dsn, events):
        assert ended(sys.executable, "-c", PROGRAM, dsn, masking).returncode == 0
        assert len(events) == 2
    for event in events:
        assert event["logentry"]["message"] == "no decision for %s of %s"
        (exception,) = event["exception"]["values"]
        assert (exception["type"], len(exception["stacktrace"]["frames"])) == ("ValueError", 1)
        assert ("s3cret" in json.dumps(event), "192.0.2.7" in json.dumps(event)) == (masking == "kept",) * 2
        assert not event.keys() & {"request", "user", "modules"}
        assert event.get("breadcrumbs", {}).get("values", []) == []
        assert "vars" not in exception["stacktrace"]["frames"][0]
        assert "sys.argv" not in event["extra"]


def test_a_service_sends_its_errors(tmp_path: Path) -> None:
    with sentry() as (dsn, events), running(tmp_path, SENTRY_DSN=dsn) as service:
        os.kill(controller(service), signal.SIGKILL)
        wait_for(lambda: bool(events))
        assert "ended, and another takes its place" in events[0]["logentry"]["message"]


def test_a_bad_dsn_stops_the_start() -> None:
    command = [sys.executable, "-m", "redirect", "serve", "--port", "0", "--admin-bind", "off"]
    done = ended(*command, SENTRY_DSN="nowhere")
    assert done.returncode == 2
    assert "SENTRY_DSN: " in done.stderr
