"""What the loop rule has in place of a redirect: `on_loop`."""

from collections import Counter
from random import Random

import pytest
from support.health import apply, down

from redirect.config.loader import ConfigError, parse_config
from redirect.core.authority import Endpoint
from redirect.core.decision import Decision
from redirect.core.service import Service, new_service

OLD: Endpoint = ("old.example", 80)
PROBED = 'health_check = { path = "/" }'


def serving(lines: str, hosts: str = '"old.example" = 6, "b.example" = 3, "c.example" = 1', *failing: str) -> Service:
    toml = f"[p]\nis_default = true\nweighted_hosts = {{ {hosts} }}\n{lines}"
    return new_service(parse_config(toml.encode(), "pools.toml"), Random(1), {"p": down(*failing)})


def asked(service: Service, count: int = 1, scheme: str = "http", host: Endpoint = OLD) -> Counter[str | None]:
    decisions = [service.decide(None, scheme, host) for _ in range(count)]
    return Counter(decision.prefix if decision.prefix else f"{decision.status}" for decision in decisions)


@pytest.mark.parametrize("pick", ["round_robin", "random"])
def test_next_picks_among_the_others_in_their_proportions(pick: str) -> None:
    got = asked(serving(f'on_loop = "next"\npick = "{pick}"'), 4000)
    assert got.keys() == {"http://b.example", "http://c.example"}
    assert 2850 < got["http://b.example"] < 3150


def test_a_head_before_a_get_sees_what_next_will_pick() -> None:
    """So does a second one. What goes down in between is not picked."""
    service = serving(f'on_loop = "next"\n{PROBED}')
    for _ in range(200):
        shown = [service.decide(None, "http", OLD, "HEAD").origin for _ in range(2)]
        assert {*shown, service.decide(None, "http", OLD).origin} == {shown[0]}
    service.decide(None, "http", OLD, "HEAD")
    apply(service, {"p": down("b.example")})
    assert service.decide(None, "http", OLD).origin == "c.example"


def test_next_leaves_requests_for_other_hosts_their_cycle() -> None:
    service = serving('on_loop = "next"')
    got = Counter(service.decide(None, "http", ("elsewhere.example", 80)).origin for _ in range(100))
    assert got == {"old.example": 60, "b.example": 30, "c.example": 10}


def test_next_refuses_only_where_no_other_origin_is_left() -> None:
    """The only one; one beside drained ones; one beside those that are down."""
    detail = "p picked old.example, the host that was asked for: a redirect would loop"
    for service in (
        serving('on_loop = "next"', '"old.example" = 2'),
        serving('on_loop = "next"', '"old.example" = 2, "b.example" = 0'),
        serving(f'on_loop = "next"\n{PROBED}', '"old.example" = 2, "b.example" = 1', "b.example"),
    ):
        assert service.decide(None, "http", OLD) == Decision(422, "p", "old.example", detail=detail)


def test_next_knows_which_origins_are_down() -> None:
    service = serving(f'on_loop = "next"\n{PROBED}')
    assert len(asked(service, 50)) == 2
    apply(service, {"p": down("b.example")})
    assert asked(service, 50).keys() == {"http://c.example"}


def test_next_draws_from_ten_thousand_origins_what_their_weights_say() -> None:
    hosts = ", ".join(f'"o{number}" = {1 + number % 2}' for number in range(10_000))
    service = serving('on_loop = "next"', f'"old.example" = 1000000, {hosts}')
    got = Counter(prefix.endswith(tuple("13579")) for prefix in asked(service, 3000).elements() if prefix)
    assert 1850 < got[True] < 2150


@pytest.mark.parametrize("status", [421, 404, 499, 503])
def test_stay_has_the_server_in_front_answer_by_itself(status: int) -> None:
    """The pick counts: so many requests stay as the old host's share says, exactly over a cycle."""
    lines = 'on_loop = "stay"' if status == 421 else f'on_loop = "stay"\nstay_status = {status}'
    service = serving(lines)
    assert asked(service, 10) == {f"{status}": 6, "http://b.example": 3, "http://c.example": 1}
    (decision,) = {each for _ in range(10) if (each := service.decide(None, "http", OLD)).prefix is None}
    assert decision == Decision(
        status,
        "p",
        "old.example",
        detail="p picked old.example, the host that was asked for: the client is to stay there",
    )
    assert decision.problem()["title"] == {
        421: "Misdirected Request",
        404: "Not Found",
        499: "Bad Request",
        503: "Service Unavailable",
    }.get(status)


@pytest.mark.parametrize("on_loop", ["refuse", "next", "stay"])
def test_from_http_to_https_of_the_same_host_is_no_loop(on_loop: str) -> None:
    """Authorities are compared with the default port of their schemes; over https there it would be one."""
    service = serving(f'scheme = "https"\non_loop = "{on_loop}"', '"old.example" = 1')
    assert asked(service) == {"https://old.example": 1}
    assert asked(service, scheme="https", host=("old.example", 443)) == {"421" if on_loop == "stay" else "422": 1}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('on_loop = "nxt"', 'on_loop must be one of "refuse", "next", "stay", got "nxt": did you mean "next"?'),
        ("stay_status = 302", "stay_status must be a whole number from 400 to 599, got 302"),
    ],
)
def test_faults(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        serving(line)
    assert str(caught.value).endswith(said)


def test_a_status_without_stay_gets_a_warning() -> None:
    (warning,) = serving("stay_status = 404").config.warnings
    assert str(warning) == 'pools.toml:4:15: p.stay_status: has no effect without on_loop = "stay"'
