"""The autoscaler adds a replica at the rate that docs/scale.md plans a replica for."""

import re

import pytest
from support.compose import ROOT

from .manifests import container, resources, variables

SCALE = (ROOT / "docs/scale.md").read_text()


def documented(pattern: str) -> list[int]:
    """The numbers of what is found once."""
    (found,) = re.finditer(pattern, SCALE)
    return [int(number.replace(",", "")) for number in found.groups()]


@pytest.mark.parametrize("folder", ["base", "overlays/gateway"])
def test_a_replica_is_added_at_the_documented_rate(folder: str) -> None:
    """The autoscaler's percentage is of the requested CPUs, the documented one of the cores of the workers."""
    (autoscaler,) = (each["spec"] for each in resources(folder, "HorizontalPodAutoscaler"))
    (metric,) = autoscaler["metrics"]
    percent, most = metric["resource"]["target"]["averageUtilization"], autoscaler["maxReplicas"]
    workers = int(variables(folder)["REDIRECT_WORKERS"])
    assert int(container(folder)["resources"]["requests"]["cpu"]) == workers == 2
    assert documented(r"With cores kept (\d+) % busy") == [percent]
    microseconds, rate = documented(r"0\.6 / (\d+) µs = .* and a replica of two workers ([\d,]+):")
    assert round(percent / 100 * workers / microseconds * 1e6, -3) == rate
    wanted, needed, spare = documented(r"\| (1,000,000) \| \d+ \| (\d+) \+ (\d+) ")
    assert (needed - 1) * rate < wanted <= needed * rate
    assert needed + spare <= most
    said = documented(r"replica per ([\d,]+) redirects a\s+second, .* at most (\d+) replicas, ([\d,]+)\.")
    assert said == [rate, most, round(most * rate, -5)]


def test_the_local_overlay_has_one_replica_for_which_little_is_requested() -> None:
    (autoscaler,) = (each["spec"] for each in resources("overlays/local", "HorizontalPodAutoscaler"))
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (1, 1)
    assert container("overlays/local")["resources"]["requests"]["cpu"] == "100m"
