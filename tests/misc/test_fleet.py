"""The simulation of a fleet: workers that all begin at the same place of a cycle are far off with few requests."""

import sys
from random import Random

import pytest
from support.service import ROOT

sys.path.insert(0, str(ROOT / "misc"))

import fleet


def test_random_places_bring_the_first_requests_of_many_workers_near_the_due_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet, "FLEETS", 5)
    together = float(fleet.off(fleet.shares(b"round_robin", fleet.First, 100)))
    apart = float(fleet.off(fleet.shares(b"round_robin", Random, 100)))
    assert apart < 10 < 40 < together
