"""The handover: what arrives is what was packed, and what is the same stays the same."""

from dataclasses import fields, replace

from redirect.config.loader import parse_config
from redirect.control.transfer import pack, unpack
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
weighted_hosts = { "a-1" = 1, "a-2" = 1 }
"""


def read(text: str) -> Config:
    return parse_config(text.encode(), "pools.toml")


NONE = read('[none]\nweighted_hosts = { "none" = 1 }\nis_default = true')


def handed_over(config: Config, before: Config) -> Config:
    """What arrives; it has to be what was sent, whatever was there before."""
    arrived = unpack(pack(config), before)
    assert arrived == config
    assert [*arrived.pools] == [*config.pools]
    assert arrived.default is arrived.pools[config.default.name]
    return arrived


def test_all_of_a_configuration_arrives() -> None:
    """Pools in their order, every field of them, the default, the hash and the warnings."""
    config = read(ALL)
    assert len(config.warnings) == 1
    handed_over(config, NONE)
    assert [field.name for field in fields(Pool)][:2] == ["name", "origins"]  # as the handover has it


def test_a_pool_that_is_the_same_stays() -> None:
    """A pool that differs in nothing is the object that was there, wherever in the file it is; any other is new."""
    before = read(ALL)
    for old, new, changed in (
        ('"a-2" = 1', '"a-2" = 2', "c"),
        ("status = 307", "status = 302", "b"),
        ('"a-1" = 5 }', '"a-3" = 5 }', "b"),
        ("8080", "8081", "a"),
        ("[b]", "[d]", "d"),
    ):
        after = handed_over(read(ALL.replace(old, new)), before)
        assert [name for name, pool in after.pools.items() if before.pools.get(name) is not pool] == [changed]
    front, _, back = ALL.partition("[b]")
    after = handed_over(read(f"[b]{back}{front}"), before)
    assert all(before.pools[name] is pool for name, pool in after.pools.items())


def test_many_pools() -> None:
    """A configuration of many pieces arrives, some of them large, and with many warnings."""
    one = read("[p]\nis_default = true\nstatus = 301\nweighted_hosts = { a = 1, b = 2 }").default
    many = Pool("many", one.origins * 5000, 302)
    pools = {f"p{n}": replace(one, name=f"p{n}") for n in range(2000)} | {
        "many": many,
        "last": replace(one, name="last"),
    }
    config = Config(pools, pools["many"], "0", read(ALL).warnings * 2000)
    assert all(pools[name] is pool for name, pool in handed_over(config, config).pools.items())
    handed_over(config, NONE)
