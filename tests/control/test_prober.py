"""The prober: which origins it asks, when their state turns, and what it says of them."""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from time import monotonic, time
from typing import NoReturn

import pytest
from support.origins import Origin, origin
from support.wire import settled

from redirect.config.loader import parse_config
from redirect.control.discovery import with_found
from redirect.control.probe import Target, probe
from redirect.control.prober import Prober, TargetState
from redirect.core.authority import Authority
from redirect.core.discovery import Discover
from redirect.core.health import HealthStatus, decode, encode
from redirect.core.overrides import Override, with_overrides
from redirect.core.pools import Config, Pool
from redirect.core.pools import Origin as InPool
from redirect.telemetry.scoreboard import Scoreboard

EVERY = 'health_check = { path = "/healthz", interval = 0.1, timeout = 5, passes = 2, fails = 3 }'


MEMBERS = {"a": "draining", "b": "up", "c": "down"}


@pytest.fixture
def there() -> Iterator[Origin]:
    with origin() as origin_:
        yield origin_


def configuration(**pools: str) -> Config:
    """Pools with these lines, the first of them the default."""
    text = "".join(f"[{name}]\nis_default = {str(name == 'p').lower()}\n{lines}\n" for name, lines in pools.items())
    return parse_config(text.encode(), "pools.toml")


def hosts(*names: str) -> str:
    return f"weighted_hosts = {{ {', '.join(f'{chr(34)}{name}{chr(34)} = 1' for name in names)} }}\n"


async def until(condition: Callable[[], object], prober: Prober) -> None:
    async with asyncio.timeout(20):
        while not condition():
            prober.publish()
            await asyncio.sleep(0.01)


def found(scoreboard: Scoreboard) -> dict[tuple[str, str], HealthStatus]:
    """What is published, by pool and origin."""
    health = decode(scoreboard.health.read())
    return {(pool, origin): status for pool, statuses in health.items() for origin, status in statuses.items()}


def states(scoreboard: Scoreboard) -> dict[tuple[str, str], bool]:
    return {place: each.is_up for place, each in found(scoreboard).items()}


@pytest.mark.parametrize(
    ("outcomes", "turns"),
    [
        pytest.param("+++", "", id="up and good"),
        pytest.param("--", "", id="not yet"),
        pytest.param("---", "2", id="three in a row"),
        pytest.param("--+--+--", "", id="never three in a row"),
        pytest.param("---+", "2", id="one good one is not enough"),
        pytest.param("---++", "24", id="two good ones are"),
        pytest.param("---+-+-+-++", "2X", id="never two in a row, until they are"),
        pytest.param("---++---", "247", id="down again"),
    ],
)
def test_a_state_turns_after_so_many_in_a_row(outcomes: str, turns: str) -> None:
    """Three failures in a row are down, two passes in a row are up again; one of the other kind begins anew."""
    state = TargetState(is_up=True)
    judged = (state.judge(is_good=each == "+", passes=2, fails=3) for each in outcomes)
    assert "".join("0123456789X"[index] for index, has_turned in enumerate(judged) if has_turned) == turns


@pytest.mark.slow
async def test_down_and_up_again(there: Origin, caplog: pytest.LogCaptureFixture) -> None:
    """An origin that fails is down from its third failure on, up again from its second pass on, and the log says so
    once for each; until its first verdict nothing is said of it."""
    scoreboard, begin = Scoreboard(), time()
    there.status = 500
    place = ("p", there.name)
    with caplog.at_level(logging.INFO, "gunicorn.error"):
        prober = Prober(scoreboard, configuration(p=hosts(there.name) + EVERY))
        await until(lambda: scoreboard.health.number, prober)
        assert len(there.asked) >= 3
        assert (states(scoreboard), found(scoreboard)[place].reason) == ({place: False}, "answered 500 and not 200")
        there.status = 200
        await until(lambda: scoreboard.health.number == 2, prober)
        assert (states(scoreboard), found(scoreboard)[place].reason) == ({place: True}, "answered 200")
        assert begin <= found(scoreboard)[place].since <= time()
        probes = prober.probes()[place]
        assert (probes.failures >= 3, probes.total - probes.failures >= 2) == (True, True)
        assert 0 < probes.seconds < time() - begin
    assert [record.getMessage() for record in caplog.records] == [
        f"{there.name} is down in p: answered 500 and not 200",
        f"{there.name} is up again in p: answered 200",
    ]


async def test_what_came_of_ejections_is_published_beside_what_probes_found() -> None:
    """The next prober takes it for nothing that it found."""
    scoreboard = Scoreboard()
    probed, ejected = HealthStatus(False, 1.0, 1.0, "answered 500"), HealthStatus(False, 2.0, 2.0, "ejected", 1)
    scoreboard.health.publish(encode({"p": {"a": probed, "b": ejected}}))
    prober = Prober(scoreboard, configuration(p=hosts("a", "b") + EVERY))
    assert prober.found == {"p": {"a": probed}}
    prober.publish({"p": {"b": ejected}})
    assert scoreboard.health.number == 1  # as it was
    prober.publish({"p": {"a": ejected}})
    assert found(scoreboard) == {("p", "a"): probed}
    prober.publish({"p": {"a": ejected}, "q": {"c": ejected}})
    assert prober.health == {"p": {"a": probed}, "q": {"c": ejected}}
    assert found(scoreboard) == {("p", "a"): probed, ("q", "c"): ejected}


@pytest.mark.slow
async def test_one_origin_of_many_pools_is_probed_once(there: Origin, caplog: pytest.LogCaptureFixture) -> None:
    """Pools that probe a host in the same way share its probes; one that probes it otherwise has its own."""
    scoreboard = Scoreboard()
    there.status = 500
    same = {name: hosts(there.name) + EVERY for name in ("p", "q", "r", "s")}
    other = hosts(there.name) + EVERY.replace("/healthz", "/other").replace("0.1", "0.2")
    prober = Prober(scoreboard, configuration(**same, t=other))
    await until(lambda: len(found(scoreboard)) == 5, prober)
    assert states(scoreboard) == {(name, there.name): False for name in "pqrst"}
    asked = [path for path, _ in there.asked]
    assert asked.count("/healthz") == pytest.approx(2 * asked.count("/other"), abs=3)
    assert f"{there.name} is down in p, q, r and 1 more: answered 500 and not 200" in caplog.text


@pytest.mark.slow
async def test_drained_origins_are_not_probed(there: Origin) -> None:
    """What gets no requests is not asked."""
    with origin() as other:
        drained = hosts(there.name, other.name).replace(f'{other.name}" = 1', f'{other.name}" = 0')
        prober = Prober(Scoreboard(), configuration(p=drained + EVERY))
        await until(lambda: len(there.asked) > 3, prober)
        assert other.asked == []


@pytest.mark.slow
async def test_what_an_override_drains_is_probed(there: Origin) -> None:
    """It gets requests again when the override ends, unless it is down."""
    there.status = 500
    scoreboard = Scoreboard()
    config = configuration(p=hosts(there.name, "127.0.0.1:1") + EVERY)
    prober = Prober(scoreboard, config)
    await until(lambda: states(scoreboard).get(("p", there.name)) is False, prober)
    prober.use(with_overrides(config, [Override("p", "127.0.0.1:1", 1000, 1000, 0.0, 0.0, 60.0)], 1.0))
    asked = len(there.asked)
    await until(lambda: len(there.asked) > asked, prober)
    assert states(scoreboard)["p", there.name] is False
    prober.use(config)
    prober.publish()
    assert states(scoreboard)["p", there.name] is False


@pytest.mark.slow
async def test_down_origins_have_an_interval_of_their_own(there: Origin) -> None:
    """An origin that is down is probed as often as `down_interval` says."""
    there.status = 500
    check = 'health_check = { path = "/", interval = 0.1, down_interval = 3600, fails = 1 }'
    scoreboard = Scoreboard()
    prober = Prober(scoreboard, configuration(p=hosts(there.name) + check))
    await until(lambda: scoreboard.health.number, prober)
    await asyncio.sleep(0.5)
    assert len(there.asked) == 1


@pytest.mark.slow
async def test_another_configuration(there: Origin) -> None:
    """Who was down stays so in the next configuration, also under another check; those who left it are forgotten,
    and those who came count as up."""
    scoreboard = Scoreboard()
    there.status = 500
    slow = EVERY.replace("0.1", "3600")
    prober = Prober(scoreboard, configuration(p=hosts(there.name, "127.0.0.1:1") + EVERY))
    await until(lambda: len(found(scoreboard)) == 2, prober)
    prober.use(configuration(p=hosts(there.name, "127.0.0.1:2") + slow, q=hosts(there.name) + slow))
    prober.publish()
    assert states(scoreboard) == {("p", there.name): False, ("q", there.name): False}


async def test_one_at_another_address_is_another() -> None:
    """A container that was started again has its old name; what probes found of it before is forgotten."""
    scoreboard = Scoreboard()
    discover = Discover("a", port=80)
    text = f'discover = {{ name = "a", port = 80 }}\n{EVERY.replace("0.1", "3600")}'

    def at(*hosts: str) -> Config:
        origins = [InPool(f"origin-{number}", Authority(host, 80), 1) for number, host in enumerate(hosts)]
        return with_found(configuration(p=text), [Pool("p", tuple(origins), discover=discover)])

    down = HealthStatus(False, 1.0, 1.0, "it answered 500")
    scoreboard.health.publish(encode({"p": {"origin-0": down, "origin-1": down}}))
    prober = Prober(scoreboard, at("192.0.2.1", "192.0.2.2"))
    prober.use(at("192.0.2.1", "192.0.2.3"))
    prober.publish()
    assert states(scoreboard) == {("p", "origin-0"): False}


async def test_what_a_provider_says_is_published_with_what_probes_found() -> None:
    """The worst counts, and one that stops is not down. The next prober does not take it for a probe's outcome."""
    scoreboard = Scoreboard()
    config = configuration(p=hosts("a", "b", "c") + EVERY.replace("0.1", "3600"))
    probed = HealthStatus(False, 1.0, 5.0, "it answered 500")
    says = {name: HealthStatus(name == "b", 1.0, 9.0, name, member=state) for name, state in MEMBERS.items()}
    scoreboard.health.publish(encode({"p": {"a": probed, "b": probed}}))
    prober = Prober(scoreboard, config)
    prober.publish({"p": says})
    assert found(scoreboard) == {("p", "a"): says["a"], ("p", "b"): probed, ("p", "c"): says["c"]}
    assert Prober(scoreboard, config).found == {"p": {"b": probed}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pool", "origin"),
    [
        pytest.param("q", "localhost", id="the same"),
        pytest.param("r", "localhost", id="a renamed pool"),
        pytest.param("p", "localhost", id="moved to another pool"),
        pytest.param("q", "LocalHost", id="respelled"),
    ],
)
async def test_another_name_for_who_is_down(there: Origin, pool: str, origin: str) -> None:
    """Who is down stays so, since the same time and for the same reason, whatever its pool and itself are called in
    the next configuration, and whichever pool it is in; and comes back there."""
    scoreboard = Scoreboard()
    there.status = 500

    def named(pool: str, origin: str) -> Config:
        return configuration(**{"p": hosts("127.0.0.1:1"), pool: hosts(f"{origin}:{there.port}") + EVERY})

    prober = Prober(scoreboard, named("q", "localhost"))
    await until(lambda: len(found(scoreboard)) == 1, prober)
    (before,) = found(scoreboard).values()
    prober.use(named(pool, origin))
    prober.publish()
    assert found(scoreboard) == {(pool, f"{origin}:{there.port}"): before}
    there.status = 200
    await until(lambda: states(scoreboard) == {(pool, f"{origin}:{there.port}"): True}, prober)


@pytest.mark.slow
def test_the_next_prober_goes_on(there: Origin) -> None:
    """A prober that takes the place of one that died knows who was down; two passes bring them back."""
    scoreboard = Scoreboard()
    config = configuration(p=hosts(there.name) + EVERY)

    async def run(*, is_up: bool) -> None:
        there.status = 200 if is_up else 500
        prober = Prober(scoreboard, config)
        await until(lambda: states(scoreboard) == {("p", there.name): is_up}, prober)

    asyncio.run(run(is_up=False))
    asyncio.run(run(is_up=True))
    assert scoreboard.health.number == 2


@pytest.mark.slow
async def test_each_has_its_interval(there: Origin) -> None:
    """An origin is probed as often as its pool wants it, whatever others want."""
    with origin() as other:
        seldom = EVERY.replace("0.1", "2")
        begin = monotonic()
        prober = Prober(Scoreboard(), configuration(p=hosts(there.name) + EVERY, q=hosts(other.name) + seldom))
        await until(lambda: len(there.asked) >= 20 and other.asked, prober)
        # Never more often, as each of their intervals may be a tenth shorter; on a slow machine, which cannot do as
        # much as the one wants, it is still the one that is probed often.
        assert len(other.asked) <= (monotonic() - begin) / 1.8 + 1
        assert len(there.asked) > 2 * len(other.asked)


@pytest.mark.slow
async def test_a_fault_of_ours_is_no_verdict(
    there: Origin, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in a probe on our side is logged, says nothing of the origin, and does not end its probes."""
    scoreboard, outcomes = Scoreboard(), [ValueError("ours")] * 5

    async def probe_badly(target: Target) -> str | None:
        if outcomes:
            raise outcomes.pop()
        return await probe(target)

    monkeypatch.setattr("redirect.control.prober.probe", probe_badly)
    prober = Prober(scoreboard, configuration(p=hosts(there.name) + EVERY))
    await until(lambda: len(there.asked) >= 3, prober)
    assert caplog.text.count("ValueError: ours") == 5
    assert scoreboard.health.number == 0


async def test_a_name_is_looked_up_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants an address while it is looked up waits for the same answer, good or bad; later it is looked up anew."""
    looked_up: list[str] = []
    may_answer = threading.Event()

    def getaddrinfo(host: str, port: int, *how: int) -> list[tuple[object, ...]]:
        looked_up.append(host)
        may_answer.wait(20)
        if host == "nowhere":
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    loop = asyncio.get_running_loop()
    impatient = [asyncio.wait_for(loop.getaddrinfo("there", 80), 0.05) for _ in range(3)]
    assert {type(each) for each in await asyncio.gather(*impatient, return_exceptions=True)} == {TimeoutError}
    waiting = [asyncio.create_task(loop.getaddrinfo(host, 80)) for host in ("there", "there", "nowhere", "nowhere")]
    await asyncio.sleep(0.05)
    may_answer.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers[0] == answers[1] == [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]
    assert {type(each) for each in answers[2:]} == {socket.gaierror}
    assert looked_up == ["there", "nowhere"]
    await loop.getaddrinfo("there", 80)
    assert looked_up == ["there", "nowhere", "there"]


async def test_a_silent_name_server_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the origin was never asked, it is not said to be silent."""
    may_answer = threading.Event()
    pool = configuration(p=hosts("nowhere") + EVERY.replace("timeout = 5", "timeout = 0.1")).pools["p"]
    assert pool.health_check is not None
    target = Target(pool.origins[0].authority, pool.health_check)

    def getaddrinfo(host: str, port: int, *how: int, **options: int) -> NoReturn:
        may_answer.wait(20)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert await probe(target) == "no name server answers within 0.1 s"
    may_answer.set()
    await asyncio.get_running_loop().shutdown_default_executor()


@pytest.mark.slow
async def test_a_lookup_that_fails_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup that fails after its callers gave up is not reported: each probe has failed already."""
    may_answer, reported = threading.Event(), list[dict[str, object]]()

    def getaddrinfo(host: str, port: int, *how: int) -> NoReturn:
        may_answer.wait(20)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    impatient = [asyncio.wait_for(loop.getaddrinfo("nowhere", 80), 0.05) for _ in range(3)]
    assert {type(each) for each in await asyncio.gather(*impatient, return_exceptions=True)} == {TimeoutError}
    may_answer.set()
    await loop.shutdown_default_executor()
    await settled()
    gc.collect()  # asyncio reports an exception that was never retrieved when the task is freed
    assert reported == []


@pytest.mark.slow
async def test_a_hung_health_check_begins_again(there: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe that is under way long after its timeout is given up, and its origin is probed on."""
    scoreboard, hanging = Scoreboard(), [True]

    async def probe_once(target: Target) -> str | None:
        while hanging:  # as a probe does that swallows its cancellation
            hanging.clear()
            await asyncio.sleep(3600)
        return await probe(target)

    monkeypatch.setattr("redirect.control.prober.probe", probe_once)
    monkeypatch.setattr("redirect.control.prober.HUNG_SECONDS", 0.2)
    prober = Prober(scoreboard, configuration(p=hosts(there.name) + EVERY.replace("timeout = 5", "timeout = 0.1")))
    await until(lambda: not hanging, prober)
    assert prober.restart_hung() == 0
    await until(lambda: prober.restart_hung() == 1, prober)
    await until(lambda: there.asked, prober)
    assert prober.restart_hung() == 0


async def test_a_health_check_does_not_hang_while_the_controller_is_stopped(
    there: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    prober = Prober(Scoreboard(), configuration(p=hosts(there.name) + EVERY))
    (state,) = prober._states.values()
    state.hangs_at = prober._looked + 1
    monkeypatch.setattr("redirect.control.prober.monotonic", lambda: prober._looked + 10)
    assert prober.restart_hung() == 0
    monkeypatch.setattr("redirect.control.prober.monotonic", lambda looked=prober._looked: looked + 2)
    assert prober.restart_hung() == 1


async def test_a_health_check_that_ended_begins_again(there: Origin) -> None:
    """Whatever ends the task of an origin, it is probed on."""
    prober = Prober(Scoreboard(), configuration(p=hosts(there.name) + EVERY))
    for state in prober._states.values():
        state.task.cancel()
    await asyncio.sleep(0)
    assert prober.restart_hung() == 1
    await until(lambda: there.asked, prober)
