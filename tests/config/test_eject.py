"""The key `eject` of a pool, and what it makes of other keys."""

import pytest
from support.toml import refused

from redirect.config.loader import parse_config
from redirect.core.pools import Config, Ejection

HEAD = '[[routes]]\nforward_to = "p"\n[p]\nweighted_hosts = { a = 1, b = 1 }\n'


def read(lines: str, head: str = HEAD) -> Config:
    return parse_config((head + lines).encode(), "pools.toml")


def test_what_is_left_out() -> None:
    assert read("").pools["p"].eject is None
    assert read("eject = {}").pools["p"].eject == Ejection(5, 30)


def test_all_keys() -> None:
    assert read("eject = { fails = 3, for = 0.5 }").pools["p"].eject == Ejection(3, 0.5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("eject = 5", "5:9: p.eject: eject must be a table such as { fails = 5, for = 30 }, got 5"),
        ("eject = { fails = 0 }", "5:19: p.eject.fails: fails must be a whole number from 1 to 1000, got 0"),
        ("eject = { for = 301 }", "5:17: p.eject.for: for must be a number of seconds from 0.1 to 300, got 301"),
        ("eject = { for_ = 3 }", "5:11: p.eject.for_: unknown key, did you mean for? Allowed are fails, for"),
        ("fails = 5", "5:1: p.fails: fails belongs to health_check, or to eject"),
    ],
)
def test_faults(line: str, said: str) -> None:
    assert refused(HEAD + line) == f"pools.toml:{said}"


def test_without_forwards_it_has_no_effect() -> None:
    """As redirects tell nothing of origins."""
    pool = "[p]\nis_default = true\nweighted_hosts = { a = 1 }\n"
    (warning,) = read("eject = {}", pool).warnings
    assert str(warning) == "pools.toml:4:9: p.eject: has no effect, for no route forwards to this pool"


def test_slow_starts_have_an_effect_with_it() -> None:
    assert read('eject = {}\nslow_start = 5\nwhen_all_down = "ignore"').warnings == ()
