"""The path below which an origin has its files, as it is asked for."""

import pytest
from support.gateway import Forwarding
from support.origin import started

MIRROR = """
[[routes]]
path_prefix = "/api"
forward_to = "mirror"
%s
[mirror]
weighted_hosts = { "%s" = { weight = 1, path_prefix = "/pub" } }
"""


@pytest.mark.parametrize(("key", "asked"), [("", "/pub/api/x?y"), ("strip_prefix = true", "/pub/x?y")])
async def test_the_prefix_stands_before_what_the_route_asks_for(key: str, asked: str, forwarding: Forwarding) -> None:
    async with started() as mirror:
        async with forwarding(more=MIRROR % (key, mirror.name)) as gateway:
            assert (await gateway.ask("GET /api/x?y HTTP/1.1")).status == 200
        assert [each.target for each in mirror.asked] == [asked]
