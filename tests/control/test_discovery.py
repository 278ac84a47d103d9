"""What providers found, as origins and health: what is published of it, and what stays across reloads."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from redirect.config.loader import Loader, parse_config
from redirect.control.discovery import Discovery, carried, with_found
from redirect.control.publisher import Publisher, publish_loading, published
from redirect.control.transfer import unpack
from redirect.core.authority import Authority
from redirect.core.discovery import Discover, Found, Member, Trouble
from redirect.core.health import HealthStatus
from redirect.core.pools import Config, Origin, Pool
from redirect.telemetry.scoreboard import Scoreboard
from redirect.telemetry.snapshot import Loading

TOML = '[p]\nis_default = true\ndiscover = { name = "a", port = 80 }\n'
STATIC = "[static]\nweighted_hosts = { s = 1 }\n"
A = Discover("a", port=80)


def configuration(text: str = TOML) -> Config:
    return parse_config(text.encode(), "pools.toml")


def member(name: str, host: str = "", state: str = "up", reason: str | None = None, **docker: str) -> Member:
    return Member(name, Authority(host or name, 80), 1, state, reason, **docker)


def origins(*hosts: str) -> tuple[Origin, ...]:
    return tuple(Origin(host, Authority(host, 80), 1) for host in hosts)


class Provider:
    """What a test lets it find."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = {}
        self.wanted: Mapping[str, Discover] = {}
        self.trouble: Trouble | None = None

    def use(self, wanted: Mapping[str, Discover]) -> None:
        self.wanted = wanted

    def trouble_of(self, pool: str) -> Trouble | None:
        return self.trouble

    async def run(self) -> None: ...


def discovery(provider: Provider, config: Config | None = None, *, waits: bool = False) -> Discovery:
    return Discovery(lambda source: provider, config or configuration(), waits=waits)


def in_use(config: Config, *hosts: str) -> Config:
    return with_found(config, [Pool("p", origins(*hosts), discover=A)])


def test_a_provider_begins_when_a_pool_needs_it() -> None:
    started: list[str] = []

    def start(source: str) -> Provider:
        started.append(source)
        return provider

    provider = Provider()
    found = Discovery(start, configuration(STATIC + "is_default = true\n"))
    assert (started, list(found.look())) == ([], [])
    found.use(configuration())
    assert (started, provider.wanted) == (["DNS"], {"p": A})
    found.use(configuration(STATIC + "is_default = true\n"))
    assert provider.wanted == {}


def test_what_was_found_are_the_origins() -> None:
    provider = Provider()
    found = discovery(provider)
    assert list(found.look()) == []  # not known yet
    provider.found = {"p": Found((member("one", "192.0.2.1"),))}
    expected = (Origin("one", Authority("192.0.2.1", 80), 1),)
    assert list(found.look()) == [Pool("p", expected, discover=A)]
    config = with_found(configuration(), found.look())
    assert config.pools["p"].origins == expected
    assert config.default is config.pools["p"]
    assert with_found(config, found.look()) is config


def test_none_found_is_a_state_with_a_reason() -> None:
    provider = Provider()
    found = discovery(provider)
    provider.found = {"p": Found(none_reason="DNS has no address of a")}
    assert with_found(configuration(), found.look()).pools["p"].none_found == "DNS has no address of a"


def test_a_provider_in_trouble_changes_no_origins() -> None:
    """Where there are none, that is the reason."""
    provider = Provider()
    provider.trouble = Trouble(1_700_000_000, "connection refused")
    words = "DNS cannot be asked since 2023-11-14T22:13:20Z"
    assert list(discovery(provider).look()) == [Pool("p", (), discover=A, none_found=words)]
    assert list(discovery(provider, in_use(configuration(), "before")).look()) == []
    provider.found = {"p": Found((member("one"),))}
    assert list(discovery(provider).look()) == [Pool("p", origins("one"), discover=A)]


def test_a_reload_keeps_what_was_found_for_the_same_discover() -> None:
    """Under another pool's name, too; what a new pool asks for in another way is not known yet."""
    before = in_use(configuration(), "one")
    text = (
        f'{TOML}[q]\ndiscover = {{ name = "a", port = 80 }}\n[r]\ndiscover = {{ name = "a", port = 81 }}\n{STATIC}'
    ).replace("is_default = true", "is_default = true\nstatus = 307")
    config = carried(configuration(text), before)
    assert {name: pool.origins for name, pool in config.pools.items()} == {
        "p": origins("one"),
        "q": origins("one"),
        "r": (),
        "static": (Origin("s", Authority("s", None), 1),),
    }
    assert config.default is not None
    assert config.default.status == 307


@pytest.mark.parametrize(
    "toml",
    [
        TOML.replace("80", "81"),
        TOML.replace('"a"', '"b"'),
        TOML.replace("default = true", "default = true\nstatus = 308"),
    ],
)
def test_a_pool_that_asks_in_another_way_has_its_origins_until_there_is_an_answer(toml: str) -> None:
    """So that a reload costs no request."""
    config = carried(configuration(toml), in_use(configuration(), "one"))
    pool = config.pools["p"]
    assert (pool.origins, pool.none_found) == (origins("one"), None)
    assert pool.discover is not None
    answered = with_found(config, [replace(pool, origins=(), none_found="DNS has no address of b")])
    assert answered.pools["p"].origins == ()


def test_a_pool_that_is_to_find_its_origins_has_those_of_the_file_until_there_is_an_answer() -> None:
    before = configuration('[p]\nis_default = true\nweighted_hosts = { "s" = 1 }\n')
    assert carried(configuration(), before).pools["p"].origins == (Origin("s", Authority("s", None), 1),)


def test_what_was_found_for_what_the_pool_asked_before_is_not_used() -> None:
    config = configuration(TOML.replace("80", "81"))
    assert with_found(config, [Pool("p", origins("one"), discover=A)]) is config


def test_states_are_health() -> None:
    """The state of a member has its reason, and one that is up again is so since then."""
    provider = Provider()
    found = discovery(provider)
    provider.found = {"p": Found((member("a"), member("b", state="down", reason="docker calls it unhealthy")))}
    found.look()
    (down,) = found.health["p"].values()
    assert (down.is_up, down.reason, down.member) == (False, "docker calls it unhealthy", "down")
    found.look()
    assert found.health["p"]["b"] is down
    provider.found = {"p": Found((member("a", state="draining", reason="stopping"), member("b")))}
    found.look()
    assert {name: (status.is_up, status.member) for name, status in found.health["p"].items()} == {
        "a": (False, "draining"),
        "b": (True, "up"),
    }
    assert found.health["p"]["b"].since_monotonic >= down.since_monotonic


def test_what_docker_calls_a_container_changes_neither_configuration_nor_health() -> None:
    """It is shown, and no worker is told."""
    provider = Provider()
    found = discovery(provider)
    starting = member("a", docker_state="running", docker_health="starting")
    provider.found = {"p": Found((starting, member("b", state="down", reason="paused")))}
    config = with_found(configuration(), found.look())
    health = found.health["p"]
    healthy = starting._replace(docker_health="healthy")
    provider.found = {"p": Found((healthy, member("b", state="down", reason="paused", docker_state="paused")))}
    assert with_found(config, found.look()) is config
    assert found.health["p"] == health
    assert (shown := found.found("p")) is not None
    assert shown.members[0] == healthy


def test_a_new_origin_starts_slowly_beside_others() -> None:
    provider = Provider()
    slow = configuration(f"{TOML}slow_start = 10\n")
    provider.found = {"p": Found((member("one"), member("two")))}
    first = discovery(provider, slow)
    first.look()
    assert first.health["p"] == {}  # all are new
    later = discovery(provider, in_use(slow, "one"))
    later.look()
    assert [(name, status.is_up) for name, status in later.health["p"].items()] == [("two", True)]


def test_the_next_controller_goes_on_from_the_states_that_were_published() -> None:
    """Those of probes and ejections are not its own."""
    down = HealthStatus(False, 1.0, 1.0, "stopping", member="draining")
    probed = HealthStatus(False, 1.0, 1.0, "it answered 500")
    found = Discovery(lambda _: Provider(), in_use(configuration(), "a", "b"), {"p": {"a": down, "b": probed}})
    found.look()
    assert found.health == {"p": {"a": down}}


def test_an_instance_that_starts_waits_for_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for long, and not for a provider that cannot be asked."""
    provider = Provider()
    found = discovery(provider, waits=True)
    assert found.waits
    assert not discovery(provider).waits
    provider.trouble = Trouble(1.0, "down")
    assert not found.waits
    provider.trouble, provider.found = None, {"p": Found(none_reason="none")}
    assert not found.waits
    monkeypatch.setattr("redirect.control.discovery.FIRST_ANSWER_SECONDS", 0.0)
    assert not discovery(Provider(), waits=True).waits


async def test_what_is_found_is_published(tmp_path: Path) -> None:
    """As a difference to what was published before, and with the hash of the file. A reload keeps it."""
    file = tmp_path / "pools.toml"
    file.write_text(TOML + STATIC)
    first, scoreboard = configuration(TOML + STATIC), Scoreboard()
    publish_loading(scoreboard, Loading(1.0, None, None, first.hash, 0))
    publisher = Publisher(scoreboard, str(file), first, Loader(str(file)))
    await publisher.use_found([Pool("p", origins("one"), discover=A)])
    head, pieces = unpack(scoreboard.change.read())
    assert (head.base, head.version) == ((first.hash, 0), (first.hash, 1))
    assert [pool.name for piece in pieces for pool in piece] == ["p"]
    await publisher.use_found([Pool("p", origins("one"), discover=A)])
    assert scoreboard.change.number == 1
    file.write_text(TOML + STATIC + "status = 307\n")
    assert await publisher.look()
    config, since = published(scoreboard, first)
    assert (config.pools["p"].origins, config.pools["static"].status, config.change) == (origins("one"), 307, 2)
    assert ("p", "one") in since
    again = Publisher(scoreboard, str(file), first, Loader(str(file)))
    assert again.config.version == config.version
    assert again.config.pools["p"].origins == origins("one")


async def test_what_came_and_left_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, scoreboard = configuration(), Scoreboard()
    publish_loading(scoreboard, Loading(1.0, None, None, first.hash, 0))
    publisher = Publisher(scoreboard, str(tmp_path / "pools.toml"), first, Loader("pools.toml"))
    await publisher.use_found([Pool("p", origins("one"), discover=A)])
    await publisher.use_found([Pool("p", origins(*"abcdefghijkl"), discover=A)])
    await publisher.use_found([Pool("p", (), discover=A, none_found="DNS has no address of a")])
    assert caplog.messages[0] == "origins of p: 1; one (one:80) came"
    assert caplog.messages[1].endswith("j (j:80) and 2 more came; one (one:80) left")
    assert caplog.messages[2].startswith("origins of p: none: DNS has no address of a; a (a:80), ")
