"""What the admin listener says of pools whose origins are found: by whom, since when not, and what is left out."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from support.admin import DISCOVERED, ask, new_scoreboard, serve

from redirect.admin import metrics
from redirect.core.authority import Authority
from redirect.core.decision import Decision
from redirect.core.discovery import Discover, Found, LeftOut, Member, Trouble

ID = "0123456789ab" + "c" * 52
FOUND = Found(
    (
        Member("found-1", Authority("172.18.0.2", 80), 1, "up", None, ID, "running", "healthy"),
        Member("found-2", Authority("172.18.0.3", 80), 0, "up", None, "f" * 64, "running"),
    ),
    (LeftOut("odd", "a" * 64, "exited", "it does not run"),),
)


class Provider:
    def __init__(self, found: Found | None = None, trouble: Trouble | None = None) -> None:
        self.found = {} if found is None else {"found": found}
        self._trouble = trouble

    def use(self, wanted: Mapping[str, Discover]) -> None: ...

    def trouble_of(self, pool: str) -> Trouble | None:
        return self._trouble

    async def run(self) -> None: ...


def status(provider: Provider, query: str = "") -> Any:
    return ask(f"/status?{query}", new_scoreboard(), pools=DISCOVERED, provider=provider).json()


def test_status_has_what_was_found() -> None:
    """Origins with address, container, and what Docker calls it; and what is no origin, with the reason."""
    pool = status(Provider(FOUND))["pools"]["found"]
    keys = ("address", "id", "state", "docker_state", "docker_health")
    assert {name: [each[key] for key in keys] for name, each in pool["origins"].items()} == {
        "found-1": ["172.18.0.2:80", ID[:12], "up", "running", "healthy"],
        "found-2": ["172.18.0.3:80", "f" * 12, "draining", "running", None],
    }
    assert {name: pool[name] for name in ("discover", "none_found", "trouble", "left_out")} == {
        "discover": {"name": "found", "port": 80},
        "none_found": None,
        "trouble": None,
        "left_out": {"odd": {"id": "a" * 12, "state": "exited", "health": None, "reason": "it does not run"}},
    }


def test_status_says_why_there_is_none_and_since_when_docker_cannot_be_asked() -> None:
    pool = status(Provider(trouble=Trouble(1_700_000_000, "connection refused")))["pools"]["found"]
    assert (pool["origins"], pool["left_out"]) == ({}, {})
    assert pool["trouble"] == {"since": "2023-11-14T22:13:20.000Z", "reason": "connection refused"}
    assert pool["none_found"] == "DNS cannot be asked since 2023-11-14T22:13:20Z"
    assert status(Provider(Found(none_reason="none")))["pools"]["found"]["none_found"] == "none"


@pytest.mark.parametrize(
    ("query", "origins", "left_out"),
    [
        pytest.param(f"origin={ID[:12]}", ["found-1"], [], id="by its id"),
        pytest.param(f"origin={ID}", ["found-1"], [], id="by its whole id"),
        pytest.param(f"origin={ID[:6]}", ["found-1"], [], id="by the beginning of its id"),
        pytest.param(f"origin={ID[:40]}", ["found-1"], [], id="by more of its id than is shown"),
        pytest.param("origin=found-2", ["found-2"], [], id="by its name"),
        pytest.param("origin=odd", [], ["odd"], id="one that is left out"),
        pytest.param("origin=aaaaaaaaaaaa", [], ["odd"], id="one that is left out, by its id"),
        pytest.param("pool=found", ["found-1", "found-2"], ["odd"], id="the pool"),
    ],
)
def test_status_of_one_container(query: str, origins: list[str], left_out: list[str]) -> None:
    pools = status(Provider(FOUND), query)["pools"]
    assert [*pools] == ["found"]
    assert ([*pools["found"]["origins"]], [*pools["found"]["left_out"]]) == (origins, left_out)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(f"{ID[:12]}garbage", id="its id and more"),
        pytest.param(f"{ID[:12]}d", id="its id and another digit"),
        pytest.param(f"{ID}0", id="its whole id and more"),
        pytest.param(ID[:5], id="too little of it"),
        pytest.param(ID[1:12], id="not its beginning"),
    ],
)
def test_what_is_not_the_beginning_of_an_id_is_no_container(asked: str) -> None:
    query = f"/status?origin={asked}"
    assert ask(query, new_scoreboard(), pools=DISCOVERED, provider=Provider(FOUND)).status_code == 404


def test_status_of_an_origin_that_dns_found_has_no_container() -> None:
    (origin,) = status(Provider(Found((Member("192.0.2.1", Authority("192.0.2.1", 80), 1),))))["pools"]["found"][
        "origins"
    ].values()
    assert {name: origin[name] for name in ("id", "docker_state", "docker_health")} == {
        "id": None, "docker_state": None, "docker_health": None,
    }  # fmt: skip


def test_status_of_a_container_that_there_is_not() -> None:
    refused = ask("/status?origin=found-3", new_scoreboard(), pools=DISCOVERED, provider=Provider(FOUND))
    assert refused.status_code == 404
    assert refused.json()["detail"].startswith('no pool has the origin "found-3"; did you mean "found-2"? There are ')


def test_metrics_of_what_was_found() -> None:
    def seen(provider: Provider) -> set[str]:
        text = ask("/metrics", new_scoreboard(), pools=DISCOVERED, provider=provider).text
        names = ("redirect_discover", "redirect_config_changes_total ")
        return {line for line in text.splitlines() if line.startswith(names)}

    assert seen(Provider(FOUND)) == {
        'redirect_discovery_up{pool="found"} 1.0',
        'redirect_discovered_origins{pool="found"} 2.0',
        "redirect_config_changes_total 1.0",
    }
    assert 'redirect_discovery_up{pool="found"} 0.0' in seen(Provider(trouble=Trouble(1.0, "down")))


def test_origins_that_left_do_not_add_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those the last ones are shown; those that are there are shown in any case."""
    monkeypatch.setattr(metrics, "MAX_GONE", 2)
    scoreboard = new_scoreboard()
    for name in ("origin-1", "one", "two", "three"):
        serve(scoreboard, Decision(302, "pool-a", name, f"http://{name}"))
    text = ask("/metrics", scoreboard).text
    shown = [name for name in ("origin-1", "one", "two", "three") if f'code="302",origin="{name}"' in text]
    assert shown == ["origin-1", "two", "three"]


def test_the_page_says_what_status_says() -> None:
    page = ask("/", new_scoreboard(), pools=DISCOVERED, provider=Provider(FOUND)).text
    assert "found by DNS: found" in page
    assert "odd is left out (exited): it does not run" in page
    assert re.findall(r">docker: ([^<]*)<", page) == ["running, healthy", "running"]
    page = ask(
        "/", new_scoreboard(), pools=DISCOVERED, provider=Provider(trouble=Trouble(1.0, "connection refused"))
    ).text
    assert "No origins: DNS cannot be asked since 1970-01-01T00:00:01Z" in page
    assert ": connection refused" in page
