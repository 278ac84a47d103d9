"""What arrives of a configuration is what was packed, and what is the same stays the same."""

from dataclasses import fields, replace

from support.toml import read

from redirect.control.transfer import PIECE_ORIGINS, joined, pack, pack_difference, unpack, unpack_config
from redirect.core.pools import Config, Pool

ALL = """
[a]
is_default = true
weighted_hosts = { "a-1" = 5, "A-2.example.:8080" = 0, "[::1]:80" = 1, "münchen.example" = 2 }
status = 301
[b]
weighted_hosts = { "a-1" = 5 }
status = 307
[c]
weighted_hosts = { "a-1" = 1, "a-2" = { weight = 1, path_prefix = "/m" } }
health_check = { path = "/healthz", expect = ["2xx", 301], headers = { a = "b" } }
slow_start = 30
headers = { x = "y" }
cors = { origins = ["https://a.example"], methods = ["PUT"] }
"""


ROUTES = """
[[routes]]
host = "*.example"
path_prefix = "/a"
methods = ["GET", "PUT"]
forward_to = "b"
strip_prefix = true
timeouts = { answer = 5 }
retry_on = [503]
limit = { in_flight = 7, queue = 2, wait = 0.5 }
[[routes]]
respond = { status = 404, headers = { "x-a" = "b" } }
[b]
weighted_hosts = { "a-1" = 5 }
scheme = "https"
pick = "least_requests"
eject = { fails = 3, for = 10 }
"""


def changed(before: Config, after: Config) -> tuple[set[str], set[str]]:
    """Names of the pools that a difference carries, and of those that it removes."""
    head, pieces = unpack(pack_difference(after, before))
    assert (head.version, head.base, head.routes) == (after.version, before.version, after.routes)
    assert head.default == (after.default.name if after.default else None)
    pools = {pool.name: pool for piece in pieces for pool in piece}
    kept = {name: pool for name, pool in before.pools.items() if name not in head.removed}
    assert {**kept, **pools} == after.pools
    return {*pools}, {*head.removed}


def test_all_of_a_configuration_arrives() -> None:
    """Pools in their order, every field of them, the default, the hash, the warnings, and since when states last."""
    config, since = read(ALL), {("b", "a-1"): 100.5}
    assert len(config.warnings) == 1
    arrived, arrived_since = unpack_config(pack(config, since))
    assert (arrived, arrived_since) == (config, since)
    assert [*arrived.pools] == [*config.pools]
    assert arrived.default is arrived.pools["a"]
    assert [field.name for field in fields(Pool)][:2] == ["name", "origins"]  # as the transfer relies on it


def test_a_difference_carries_only_the_pools_that_differ() -> None:
    before = read(ALL)
    for old, new, expected in (
        ("weight = 1", "weight = 2", ({"c"}, set())),
        ('"/m"', '"/n"', ({"c"}, set())),
        ("status = 307", "status = 302", ({"b"}, set())),
        ('"a-1" = 5 }', '"a-3" = 5 }', ({"b"}, set())),
        ("8080", "8081", ({"a"}, set())),
        ("/healthz", "/other", ({"c"}, set())),
        ("[b]", "[d]", ({"d"}, {"b"})),
    ):
        assert changed(before, read(ALL.replace(old, new))) == expected
    front, _, back = ALL.partition("[b]")
    assert changed(before, read(f"[b]{back}{front}")) == (set(), set())


def test_routes_arrive() -> None:
    """With no default pool, and without any pool."""
    for text in (ROUTES, "[[routes]]\nrespond = {}", ALL + ROUTES.partition("[b]")[0]):
        config = read(text)
        assert unpack_config(pack(config, {})) == (config, {})


def test_a_difference_carries_the_routes() -> None:
    """And no pool, where only routes changed; a default pool comes and goes."""
    before = read(ROUTES)
    after = read(ROUTES.replace("answer = 5", "answer = 6"))
    assert before.routes != after.routes
    assert changed(before, after) == (set(), set())
    assert changed(before, read(f"{ROUTES}is_default = true")) == (set(), set())
    assert changed(read(f"{ROUTES}is_default = true"), before) == (set(), set())
    assert changed(before, read(ROUTES.replace("least_requests", "random"))) == ({"b"}, set())
    assert changed(before, read(ROUTES.replace('"https"', '"http"'))) == ({"b"}, set())
    assert changed(before, read("[[routes]]\nrespond = {}")) == (set(), {"b"})


def test_a_difference_of_one_pool_is_short() -> None:
    """One weight of 20,000 pools changed travels in less than a kilobyte."""
    one = read(ALL).pools["c"]
    pools = {f"p{n}": replace(one, name=f"p{n}") for n in range(20_000)}
    before = Config(pools, pools["p0"], "0")
    after = Config({**pools, "p7": replace(pools["p7"], status=307)}, pools["p0"], "1")
    assert len(pack_difference(after, before)) < 1000


def test_many_pools_arrive_in_pieces() -> None:
    """A configuration of many pools, one of them large, arrives in pieces of about PIECE_ORIGINS."""
    one = read("[p]\nis_default = true\nweighted_hosts = { a = 1, b = 2 }").pools["p"]
    pools = {f"p{n}": replace(one, name=f"p{n}") for n in range(2000)}
    pools["many"] = Pool("many", one.origins * 5000, 302)
    config = Config(pools, pools["many"], "0", read(ALL).warnings * 2000)
    head, pieces = unpack(pack(config, {}))
    sizes, arrived = [], {}
    for piece in pieces:
        sizes.append(sum(len(pool.origins) for pool in piece))
        arrived.update({pool.name: pool for pool in piece})
    assert joined(head, arrived) == config
    assert all(size in (PIECE_ORIGINS, 10_000, 0) for size in sizes)
