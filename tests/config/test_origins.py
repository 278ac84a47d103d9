"""What an origin has beside its weight: the table in place of the number."""

from random import Random

import pytest
from support.toml import refused

from redirect.config.loader import parse_config
from redirect.core.authority import Authority
from redirect.core.pools import Config, Origin
from redirect.core.service import new_service

HEAD = "[p]\nis_default = true\n"


def read(hosts: str) -> Config:
    return parse_config(f"{HEAD}weighted_hosts = {hosts}\n".encode(), "pools.toml")


def test_a_table_and_a_number_mean_the_same_weight() -> None:
    assert read('{ "a:80" = { weight = 2 }, b = 1 }').pools == read('{ "a:80" = 2, b = 1 }').pools


@pytest.mark.parametrize(
    "text",
    [
        'weighted_hosts = { "a.example" = { weight = 2, path_prefix = "/m" } }',
        'weighted_hosts."a.example".weight = 2\nweighted_hosts."a.example".path_prefix = "/m"',
        '[p.weighted_hosts]\n"a.example" = { path_prefix = "/m/", weight = 2 }',
        '[p.weighted_hosts."a.example"]\nweight = 2\npath_prefix = "/m"',
    ],
)
def test_every_way_in_which_toml_writes_a_table(text: str) -> None:
    """A slash at the end of the prefix makes no difference."""
    (origin,) = parse_config((HEAD + text).encode(), "pools.toml").pools["p"].origins
    assert origin == Origin("a.example", Authority("a.example", None), 2, "/m")


@pytest.mark.parametrize(("prefix", "location"), [("/m/x", "/m/x/y//z?q"), ("/m/", "/m/y//z?q"), ("/", "/y//z?q")])
def test_the_prefix_stands_before_the_target_as_it_came(prefix: str, location: str) -> None:
    service = new_service(read(f'{{ "a.example" = {{ weight = 1, path_prefix = "{prefix}" }} }}'), Random(1))
    assert service.decide(None, "https", None).location("/y//z?q") == f"https://a.example{location}"


def test_a_prefix_ends_no_loop() -> None:
    """The same host would be asked again, for a longer path each time."""
    service = new_service(read('{ "a.example" = { weight = 1, path_prefix = "/m" } }'), Random(1))
    assert service.decide(None, "http", ("a.example", 80)).status == 422


_WEIGHT = "weight must be a whole number from 0 to 1000000"
_RULE = "path_prefix must begin with / and have at most 1024 visible ASCII characters"


@pytest.mark.parametrize(
    ("hosts", "fault"),
    [
        ('{ "a.example" = { weight = -1 } }', f'3:45: p.weighted_hosts."a.example".weight: {_WEIGHT}, got -1'),
        ('{ a = { path_prefix = "/m" } }', f'3:20: p.weighted_hosts."a": weight is missing; {_WEIGHT}'),
        ("{ a = {} }", f'3:24: p.weighted_hosts."a": {_WEIGHT}, got a table'),
        (
            "{ a = { wieght = 1 } }",
            f'3:20: p.weighted_hosts."a": weight is missing; {_WEIGHT}\n'
            'pools.toml:3:26: p.weighted_hosts."a".wieght: unknown key, did you mean weight? '
            "Allowed are weight, path_prefix",
        ),
        ('{ a = { weight = 1, path_prefix = "m" } }', f'3:52: p.weighted_hosts."a".path_prefix: {_RULE}, got "m"'),
        (
            '{ a = { weight = 1, path_prefix = "/m?x" } }',
            f'3:52: p.weighted_hosts."a".path_prefix: {_RULE}, got "/m?x": '
            "a prefix is whole segments without *, ? and #",
        ),
        (
            "{ b.example = { weight = 1 } }",
            '3:20: p.weighted_hosts."b": a host with dots must be quoted, write "b.example" = a table',
        ),
        (
            "{ a = { weight = 0 } }",
            "3:18: p.weighted_hosts: weighted_hosts needs at least one host with a weight above 0",
        ),
        ("{ a = { weight = 1 }, A = 1 }", '3:40: p.weighted_hosts."A": is the same host as "a", name it once'),
    ],
)
def test_faults(hosts: str, fault: str) -> None:
    """Each at its place within the table."""
    assert refused(f"{HEAD}weighted_hosts = {hosts}\n") == f"pools.toml:{fault}"
