"""Forwards of a pool without an eligible origin: those of its fallback."""

from support.gateway import Forwarding, Gateway
from support.health import apply, down
from support.origin import answer, says, started

POOL = """
eject = {}
fallback = "standby"
[standby]
weighted_hosts = { "%s" = 1 }
eject = {}
"""


def take_down(gateway: Gateway, **origins: str) -> None:
    """Those of these pools."""
    apply(gateway.handler.service, {pool: down(origin) for pool, origin in origins.items()})


async def test_the_fallback_answers_while_no_origin_is_eligible(forwarding: Forwarding) -> None:
    """The record has it as the pool, and says for which; counts of what is under way end at nothing."""
    behaviour = says(answer(b"from the standby"))
    async with started(behaviour) as standby, forwarding(pool=POOL % standby.name) as gateway:
        take_down(gateway, origins=gateway.origin.name)
        got = await gateway.ask("GET /x HTTP/1.1")
        assert (got.status, got.body) == (200, b"from the standby")
        take_down(gateway, origins="another")
        assert (await gateway.ask("GET /x HTTP/1.1")).body != b"from the standby"
        records = await gateway.records(2)
        assert [(record["pool"], record["origin"], record["fallback_for"]) for record in records] == [
            ("standby", standby.name, "origins"),
            ("origins", gateway.origin.name, None),
        ]
        assert not +gateway.handler.forwarder._requests


async def test_where_the_fallback_has_no_eligible_origin_either_it_is_503(forwarding: Forwarding) -> None:
    async with forwarding(pool=POOL % "standby.example") as gateway:
        take_down(gateway, origins=gateway.origin.name, standby="standby.example")
        got = await gateway.ask("GET /x HTTP/1.1")
        assert (got.status, got.detail) == (503, "no origin of origins is eligible; no origin of standby is eligible")
        assert got.has("retry-after")
        assert (await gateway.record())["pool"] == "origins"
