"""The TOML: taken whole or not at all, every fault with its place, the key, the value and what is allowed."""

import contextlib
import gc
import os
import threading
from dataclasses import FrozenInstanceError
from pathlib import Path
from random import Random
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from support.examples import generated
from support.pieces import outcome_as_a_whole, outcome_in_pieces
from support.toml import load, read, refused

from redirect.config.loader import ConfigError, Loader, parse_config, read_config
from redirect.config.schema import POOL_KEYS
from redirect.core.authority import Authority
from redirect.core.pools import Fault, Origin, Pool
from redirect.core.service import new_service

FILE = "pools.toml"


def default(text: str) -> Pool:
    """The default pool of a file that has one."""
    found = read(text).default
    assert found is not None
    return found


def pool(hosts: str) -> str:
    """A file of one pool; the first of its hosts begins in line 3, column 20."""
    return f"[pool-a]\nis_default = true\nweighted_hosts = {{ {hosts} }}\n"


# What a good file becomes


def test_pools() -> None:
    """A table becomes a pool, a key of weighted_hosts an origin, both in the order of the file."""
    config = read(
        '[pool-b]\nweighted_hosts = { "b.example.com:8443" = 2, "A.example.com." = 0, bare = 1 }\nstatus = 307\n'
        '[pool-a]\nis_default = true\n[pool-a.weighted_hosts]\n"[::1]" = 1000000\n"bücher.example" = 1\n'
    )
    pool_b = Pool(
        "pool-b",
        (
            Origin("b.example.com:8443", Authority("b.example.com", 8443), 2),
            Origin("A.example.com.", Authority("a.example.com", None), 0),
            Origin("bare", Authority("bare", None), 1),
        ),
        307,
    )
    pool_a = Pool(
        "pool-a",
        (
            Origin("[::1]", Authority("[::1]", None), 1_000_000),
            Origin("bücher.example", Authority("xn--bcher-kva.example", None), 1),
        ),
        302,
    )
    assert list(config.pools.items()) == [("pool-b", pool_b), ("pool-a", pool_a)]
    assert config.default is config.pools["pool-a"]
    assert config.warnings == ()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_statuses(status: int) -> None:
    """Each of the five statuses of a redirect with a Location is allowed."""
    config = read(f"{pool('a = 1')}status = {status}")
    assert config.default is not None
    assert config.default.status == status
    assert config.warnings == ()


@pytest.mark.parametrize(
    "name", ["a", "pool-a", "~!#$%&'*+,/:;<=>?@[]^`{|}", "eu.west", '\\"', "x" * 128, "default", "__class__"]
)
def test_pool_names(name: str) -> None:
    """A pool may have any name of visible ASCII characters that fits a header."""
    assert list(read(tomli_w.dumps({name: {"weighted_hosts": {"a": 1}, "is_default": True}})).pools) == [name]


def test_first_default_pool() -> None:
    """The default pool is the first that says so, not the first of the file."""
    hosts = "weighted_hosts = { a = 1 }"
    config = read(
        f"[a]\n{hosts}\nis_default = false\n[b]\n{hosts}\nis_default = true\n[c]\n{hosts}\nis_default = true\n"
    )
    assert config.default is config.pools["b"]


def test_shares() -> None:
    """An origin's share is its weight by the sum of all weights of its pool."""
    pool_a = default(pool("a = 5, b = 3, c = 0"))
    assert [share for _, share in pool_a.shares()] == [0.625, 0.375, 0]


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param('"a" = 1, "a:8080" = 1, "a:8443" = 1', id="ports"),
        pytest.param('"a:80" = 1, "a:443" = 1', id="default port of the one scheme and of the other"),
        pytest.param('"a.example" = 1, "b.a.example" = 1', id="subdomain"),
        pytest.param('"bücher.example" = 1, "bucher.example" = 1', id="with and without a diaeresis"),
        pytest.param('"straße.example" = 1, "strasse.example" = 1', id="sharp s and ss"),
        pytest.param('"[::1]" = 1, "[::2]" = 1, "127.0.0.1" = 1', id="addresses"),
    ],
)
def test_hosts_that_differ(hosts: str) -> None:
    """Hosts that a client tells apart may stand in one pool."""
    assert len(default(pool(hosts)).origins) == hosts.count("=")


def test_values_are_frozen() -> None:
    """No part of a configuration can be changed once it is read."""
    config = read(f"{pool('a = 1')}status = 302\n[b]\nis_default = true\nweighted_hosts = {{ a = 1 }}")
    fault = config.warnings[0]
    for part, field in [
        (config, "default"),
        (config.pools["pool-a"], "status"),
        (config.pools["pool-a"].origins[0], "weight"),
        (fault, "line"),
    ]:
        with pytest.raises(FrozenInstanceError):
            setattr(part, field, None)


def test_hash() -> None:
    """The hash is short, the same for the same content under any name, and another for any other content."""
    contents = [pool("a = 1"), pool("a = 2"), f"{pool('a = 1')}# comment\n"]
    hashes = [read(content).hash for content in contents]
    assert len(set(hashes)) == 3
    assert all(len(each) == 12 and int(each, 16) for each in hashes)
    assert parse_config(contents[0].encode(), "elsewhere.toml").hash == hashes[0]


@pytest.mark.slow
def test_ten_thousand_pools(tmp_path: Path) -> None:
    """A file of 10,000 pools is loaded whole, and the service picks from the last of them."""
    path = tmp_path / FILE
    document = {
        f"pool-{number}": {"weighted_hosts": {f"a.{number}.example": 2, f"b.{number}.example:8443": number}}
        for number in range(10_000)
    }
    path.write_bytes(
        tomli_w.dumps({**document, "last": {"weighted_hosts": {"z.example": 1}, "is_default": True}}).encode()
    )
    config = load(path)
    assert len(config.pools) == 10_001
    assert config.pools["pool-9999"].origins[1] == Origin(
        "b.9999.example:8443", Authority("b.9999.example", 8443), 9999
    )
    service = new_service(config, Random(1))
    assert service.decide("pool-0", "http", None).location("/") == "http://a.0.example/"
    assert service.decide("last", "http", None).location("/x") == "http://z.example/x"


@pytest.mark.parametrize("content", [pool("a = 1").encode(), b"[pool-a", None], ids=["good", "faulty", "missing"])
def test_load_leaves_the_collector_as_it_was(content: bytes | None, tmp_path: Path) -> None:
    """Whatever a file holds, Python looks for garbage after loading it if it did before, and only then."""
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    for switch, is_on in [(gc.disable, False), (gc.enable, True)]:
        switch()
        with contextlib.suppress(ConfigError):
            load(tmp_path / FILE)
        assert gc.isenabled() == is_on


def test_a_host_is_kept_once() -> None:
    """A host in its normal spelling is one string, as it was written and as it is compared."""
    origin = default(pool('"kept.once.example" = 1')).origins[0]
    assert origin.name is origin.authority.host


@pytest.mark.slow
def test_fault_in_ten_thousand_pools() -> None:
    """In a large file a fault is found where it stands."""
    document = {f"pool-{number}": {"weighted_hosts": {"a": 1, "b": 1}} for number in range(10_000)}
    text = tomli_w.dumps(document) + '[last]\nis_default = true\nweighted_hosts = { "c" = -1 }\n'
    line = text.count("\n")
    assert refused(text) == (
        f'pools.toml:{line}:26: last.weighted_hosts."c": weight must be a whole number from 0 to 1000000, got -1'
    )


# Faults: what the file itself is


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named, with how to name another."""
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path / "none.toml")
    assert str(refusal.value) == (
        f"{tmp_path}/none.toml:1:1: cannot be read: No such file or directory; "
        "name another in the command or in REDIRECT_POOLS_CONFIG_PATH"
    )


def test_directory(tmp_path: Path) -> None:
    """A directory is no file."""
    with pytest.raises(ConfigError) as refusal:
        load(str(tmp_path))
    assert str(refusal.value) == (
        f"{tmp_path}:1:1: cannot be read: Is a directory; name another in the command or in REDIRECT_POOLS_CONFIG_PATH"
    )


@pytest.mark.parametrize("waits", [True, False], ids=["start", "reload"])
def test_a_file_over_64_mib_is_refused_before_it_is_read(waits: bool, tmp_path: Path) -> None:
    """The file has a TiB, which no machine that runs this could hold."""
    path = tmp_path / FILE
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(ConfigError) as refusal:
        read_config(path, waits=waits)
    assert str(refusal.value) == (
        f"{path}:1:1: too large: at least 1,099,511,627,776 bytes, at most 67,108,864 (64 MiB) are read; "
        "name another file, or divide its pools among several services"
    )


def test_a_file_of_the_largest_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / FILE
    path.write_bytes(_GOOD.encode())
    monkeypatch.setattr("redirect.config.loader.MAX_CONFIG_BYTES", len(_GOOD))
    assert [*load(path).pools] == ["good"]


def test_what_grows_is_cut_off_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is added between the look at the size and the end of reading counts."""
    path = tmp_path / FILE
    path.write_bytes(_GOOD.encode())

    def fstat(file: int) -> os.stat_result:
        size = os.stat(file)
        path.write_bytes(_GOOD.encode() * 3)
        return size

    with monkeypatch.context() as patched:
        patched.setattr("redirect.config.loader.MAX_CONFIG_BYTES", len(_GOOD))
        patched.setattr("os.fstat", fstat)
        with pytest.raises(ConfigError) as refusal:
            load(path)
    assert f"at least {len(_GOOD) + 1} bytes" in str(refusal.value)


def test_a_pipe_is_cut_off_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a command writes without end into a pipe, reading it ends."""
    path = tmp_path / FILE
    os.mkfifo(path)
    monkeypatch.setattr("redirect.config.loader.MAX_CONFIG_BYTES", 1024 * 1024)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
            while True:
                pipe.write(b"#" * 4096)

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(ConfigError) as refusal:
        load(path)
    writer.join()
    assert "too large: at least 1,048,577 bytes, at most 1,048,576 (1 MiB) are read" in str(refusal.value)


def test_faults_of_a_file(tmp_path: Path) -> None:
    """Faults name the file as it was named to `load`."""
    path = tmp_path / "bad.toml"
    path.write_text("[pool-a", encoding="utf-8")
    with pytest.raises(ConfigError) as refusal:
        load(path)
    assert refusal.value.faults == (
        Fault(str(path), 1, 8, "", "not TOML: Expected ']' at the end of a table declaration"),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"\xff", "1:1: byte 0xff", id="first byte"),
        pytest.param(b"[a]\n# caf\xe9\n", "2:6: byte 0xe9", id="latin-1"),
        pytest.param("# é😀 ".encode() + b"\xfe", "1:6: byte 0xfe", id="behind characters of several bytes"),
        pytest.param(b"[a]\r\n# \x80\r\n", "2:3: byte 0x80", id="behind a line end of Windows"),
        pytest.param("# é".encode()[:-1], "1:3: byte 0xc3", id="character cut at the end"),
        pytest.param("[a]".encode("utf-16"), "1:1: byte 0xff", id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf# ab\xff\n", "1:5: byte 0xff", id="behind a byte order mark"),
        pytest.param(b"\xef\xbb\xbf[a]\n#\xff\n", "2:2: byte 0xff", id="behind a byte order mark, second line"),
        pytest.param("\ufeff#é".encode() + b"\xff", "1:3: byte 0xff", id="behind a byte order mark and a character"),
    ],
)
def test_not_utf8(content: bytes, message: str) -> None:
    """The first byte that is not UTF-8 is named, with its place."""
    assert refused(content) == f"pools.toml:{message} is not UTF-8; save the file in that encoding"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[pool-a]\nis_default = tru\n", "2:14: not TOML: Invalid value", id="value"),
        pytest.param(
            "[pool-a]\nstatus 302\n", "2:8: not TOML: Expected '=' after a key in a key/value pair", id="no equals sign"
        ),
        pytest.param(
            "[pool-a\n", "1:8: not TOML: Expected ']' at the end of a table declaration", id="bracket left open"
        ),
        pytest.param(
            "# é\n[pool-ä]\n",
            "2:7: not TOML: Expected ']' at the end of a table declaration",
            id="bare key of letters beyond ASCII",
        ),
        pytest.param("[pool-a]\n= 1\n", "2:1: not TOML: Invalid statement", id="no key"),
        pytest.param(
            "a = 1 b = 2\n",
            "1:7: not TOML: Expected newline or end of document after a statement",
            id="two pairs in a line",
        ),
        pytest.param("[a]\nb = { c = 1", "2:12: not TOML: Unclosed inline table", id="inline table left open"),
        pytest.param("[a]\nb = { c = 1\n}", "2:12: not TOML: Unclosed inline table", id="inline table over lines"),
        pytest.param("[a]\nb = [1,\n2 3]", "3:3: not TOML: Unclosed array", id="array without a comma"),
        pytest.param('a = """x\n', "2:1: not TOML: Unterminated string", id="string left open at the end of the file"),
        pytest.param('a = "x', "1:7: not TOML: Unterminated string", id="string left open at the end of the only line"),
        pytest.param('a = "x\ny', "1:7: not TOML: Illegal character '\\n'", id="string left open at the end of a line"),
        pytest.param("a = 2024-02-30\n", "1:5: not TOML: Invalid date or datetime", id="30 February"),
        pytest.param(
            "a = 01\n", "1:6: not TOML: Expected newline or end of document after a statement", id="leading zero"
        ),
        pytest.param("[a]\r\nb = \r\n", "2:5: not TOML: Invalid value", id="CRLF"),
        pytest.param("\ufeff[a]\nb = x\n", "2:5: not TOML: Invalid value", id="byte order mark"),
        pytest.param(
            "\ufeff[a",
            "1:3: not TOML: Expected ']' at the end of a table declaration",
            id="byte order mark, first line",
        ),
    ],
)
def test_not_toml(text: str, message: str) -> None:
    """What TOML does not allow is said in the parser's words, with line and column."""
    assert (
        refused(text).partition(": text is")[0].partition(": a key")[0].partition(": { }")[0] == f"pools.toml:{message}"
    )


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("status = 302\nstatus = 301", "the key is there already, leave one out"),
        ("a = 1\n[p]\nb = 1", "the table is there already, leave one out"),
        ("pick = random", "text is in quotes, true and false are not"),
        ("is_default = True", "text is in quotes, true and false are not"),
        (
            "weighted_hosts = { a.example:80 = 1 }",
            "a key with other characters than letters, digits, _ and - is in quotes",
        ),
        (
            'weighted_hosts = { "a" = 1, }',
            "{ } is one line with commas between its members; for more lines write [POOL.weighted_hosts] above them",
        ),
    ],
)
def test_what_is_often_no_toml_has_a_remedy(line: str, remedy: str) -> None:
    assert refused(f"[p]\n{line}\n").endswith(f": {remedy}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[pool-a]\n[pool-a]\n", "2:8: not TOML: Cannot declare ('pool-a',) twice", id="pool"),
        pytest.param("[a]\nstatus = 301\nstatus = 302\n", "3:13: not TOML: Cannot overwrite a value", id="key"),
        pytest.param(pool('"a" = 1, "a" = 1'), "3:36: not TOML: Duplicate inline table key 'a'", id="host"),
        pytest.param(
            pool("'a' = 1, a = 1"), "3:34: not TOML: Duplicate inline table key 'a'", id="host in other quotes"
        ),
        pytest.param(
            "[a.weighted_hosts]\nb = 1\nb = 1\n", "3:6: not TOML: Cannot overwrite a value", id="host in a table"
        ),
        pytest.param(
            "[a]\nweighted_hosts = {}\n[a.weighted_hosts]\n",
            "3:18: not TOML: Cannot declare ('a', 'weighted_hosts') twice",
            id="inline and header",
        ),
    ],
)
def test_duplicates(text: str, message: str) -> None:
    """A name that stands twice is refused by TOML itself, before anything is overwritten."""
    assert refused(text).startswith(f"pools.toml:{message}: ")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("1" * 5_000, id="decimal number of 5,000 digits"),
        pytest.param("0x" + "f" * 5_000, id="hexadecimal number of 5,000 digits"),
        pytest.param("[" * 5_000 + "]" * 5_000, id="array in 5,000 arrays"),
        pytest.param("{ a = " * 5_000 + "1" + "}" * 5_000, id="table in 5,000 tables"),
    ],
)
def test_what_python_cannot_read(value: str) -> None:
    """A value beyond what Python reads is a fault of the file, not of ours."""
    assert refused(pool(f'"a" = {value}')).startswith("pools.toml:")


@pytest.mark.slow
def test_any_depth() -> None:
    """However deep a value is nested, the file has a fault and no traceback."""
    for depth in range(100, 1000, 3):
        assert refused(f"x = {'[' * depth}{']' * depth}").startswith("pools.toml:1:")


# Faults: what a file holds


_RULE = 'must be a table of hosts and weights such as { "origin-1.example.com" = 2 }'
_PAIRS = f"weighted_hosts {_RULE}"
_MISSING = f"weighted_hosts is missing; {_PAIRS}; or use discover"
_TABLE = "a pool must be a table that begins with a line like [pool-a]"
_NAME = "a pool's name must be 1 to 128 visible ASCII characters, for it travels in a header"
_DEFAULT = "pools.toml:1:1: no pool is the default; write is_default = true in one, say"
_UNKNOWN = f"unknown key, allowed are {', '.join(POOL_KEYS)}"


def misspelt(key: str) -> str:
    """The message about a key that is like this one."""
    return _UNKNOWN.replace("allowed", f"did you mean {key}? Allowed")


_GOOD = "[good]\nis_default = true\nweighted_hosts = { a = 1 }\n"


def test_keys_of_a_pool_without_a_header() -> None:
    """They are not taken for pools."""
    said = "is a key of a pool; write a line like [pool-a] before it"
    assert refused('is_default = true\nweighted_hosts = { "a" = 1 }\n').splitlines() == [
        f"pools.toml:1:1: is_default: {said}",
        f"pools.toml:2:1: weighted_hosts: {said}",
    ]


@pytest.mark.parametrize("method", ["put", "Get"])
def test_a_method_that_no_browser_asks_for(method: str) -> None:
    """They write those in capitals; others they send as they are."""
    (warning,) = read(f'{_GOOD}cors = {{ origins = "*", methods = ["{method}", "patch"] }}\n').warnings
    said = f'has no effect for "{method}": browsers ask for {method.upper()}'
    assert str(warning) == f"pools.toml:4:35: good.cors.methods: {said}"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "\ufeff", "\r\n"])
def test_empty_file(text: str) -> None:
    """A file without a pool says how one begins."""
    assert refused(text) == "pools.toml:1:1: holds no pool; a pool begins with a line like [pool-a]"


@pytest.mark.parametrize(
    ("weight", "shown"),
    [
        pytest.param("-1", "-1", id="negative"),
        pytest.param("1000001", "1000001", id="above a million"),
        pytest.param("9223372036854775808", "9223372036854775808", id="beyond 64 bits"),
        pytest.param("1.5", "1.5", id="fraction"),
        pytest.param("1.0", "1.0", id="whole, but a float"),
        pytest.param("1e3", "1000.0", id="exponent"),
        pytest.param("inf", "inf", id="infinity"),
        pytest.param("nan", "nan", id="no number"),
        pytest.param("true", "true", id="flag"),
        pytest.param('"2"', '"2"', id="string"),
        pytest.param("''", '""', id="empty string"),
        pytest.param('"""a\n"b\\u0000"""', '"a\\n\\"b\\u0000"', id="string with a line break and a control byte"),
        pytest.param('"\u00a0\u2028\u202e"', '"\\u00a0\\u2028\\u202e"', id="string with invisible characters"),
        pytest.param('"\U000e0001"', '"\\U000e0001"', id="string with an invisible character beyond 16 bits"),
        pytest.param(f"'{'x' * 90}'", f'"{"x" * 78}…', id="long string"),
        pytest.param("1979-05-27", "1979-05-27", id="date"),
        pytest.param("1979-05-27T07:32:00Z", "1979-05-27 07:32:00+00:00", id="date and time"),
        pytest.param("[1]", "an array", id="array"),
        pytest.param("[{ a = 1 }]", "an array", id="array of tables"),
        pytest.param("{}", "a table", id="empty table"),
    ],
)
def test_weight(weight: str, shown: str) -> None:
    """A weight is a whole number from 0 to 1,000,000."""
    assert refused(pool(f'"origin-5" = {weight}')) == (
        'pools.toml:3:33: pool-a.weighted_hosts."origin-5": '
        f"weight must be a whole number from 0 to 1000000, got {shown}"
    )


_LDH = "a host name is made of letters, digits, - and _ between dots"
_HOST_PORT = "not a host with an optional port"
_PORT = "port must be from 1 to 65535"


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        pytest.param("", _HOST_PORT, id="empty"),
        pytest.param("http://a.example", _HOST_PORT, id="scheme"),
        pytest.param("//a.example", _LDH, id="slashes"),
        pytest.param("user@a.example", _LDH, id="user"),
        pytest.param("user:pass@a.example", _HOST_PORT, id="user and password"),
        pytest.param("a.example/", _LDH, id="slash"),
        pytest.param("a.example/path", _LDH, id="path"),
        pytest.param("a.example:80/path", _HOST_PORT, id="port and path"),
        pytest.param("a.example?x", _LDH, id="query"),
        pytest.param("a.example#x", _LDH, id="fragment"),
        pytest.param("a b", _LDH, id="blank"),
        pytest.param(" a", _LDH, id="leading blank"),
        pytest.param("a ", _LDH, id="trailing blank"),
        pytest.param("a\\\\b", _LDH, id="backslash"),
        pytest.param("a\\tb", _LDH, id="tab"),
        pytest.param("a\\u0000", _LDH, id="NUL"),
        pytest.param("a\\r\\nSet-Cookie", _LDH, id="line break"),
        pytest.param("a\\u007f", _LDH, id="DEL"),
        pytest.param("*.a.example", _LDH, id="wildcard"),
        pytest.param("a,b", _LDH, id="comma"),
        pytest.param("{a}", _LDH, id="braces"),
        pytest.param("-a", _LDH, id="leading hyphen"),
        pytest.param("a..b", _LDH, id="empty label"),
        pytest.param("a.example..", _LDH, id="two trailing dots"),
        pytest.param("[key]", "At least 3 parts expected in 'key'", id="brackets around no address"),
        pytest.param("x" * 64, _LDH, id="label of 64"),
        pytest.param(".".join(["x" * 49] * 6), _LDH, id="name of 299"),
        pytest.param("x" * 1025, "longer than any host name", id="very long"),
        pytest.param("a:0", _PORT, id="port 0"),
        pytest.param("a:65536", _PORT, id="port above 65535"),
        pytest.param("a:", "the port is missing", id="port missing"),
        pytest.param("[::1]:", "the port is missing", id="port of an IPv6 address missing"),
        pytest.param("a:http", _HOST_PORT, id="port of letters"),
        pytest.param("a:80:80", _HOST_PORT, id="two ports"),
        pytest.param("::1", _HOST_PORT, id="IPv6 without brackets"),
        pytest.param("[fe80::1%eth0]", "an address with a zone has a meaning on one machine only", id="IPv6 zone"),
        pytest.param("[::1", _HOST_PORT, id="IPv6 bracket left open"),
        pytest.param("80", "Expected 4 octets in '80'", id="a number alone"),
        pytest.param("1.2.3", "Expected 4 octets in '1.2.3'", id="three octets"),
        pytest.param("1.2.3.4.5", "Expected 4 octets in '1.2.3.4.5'", id="five octets"),
        pytest.param("1.2.3.256:80", "Octet 256 (> 255) not permitted in '1.2.3.256'", id="octet above 255"),
        pytest.param(
            "1.2.3.04", "Leading zeros are not permitted in '04' in '1.2.3.04'", id="octet with a zero in front"
        ),
        pytest.param("example.1", "Expected 4 octets in 'example.1'", id="name that ends in a number"),
        pytest.param(
            "bü cher.example",
            "not an internationalised host name (Codepoint U+0020 at position 3 of 'bü cher' not allowed)",
            id="blank in an IDN",
        ),
        pytest.param(
            "xn--a-ü.example",
            "not an internationalised host name (Label has disallowed hyphens in 3rd and 4th position)",
            id="bad IDN",
        ),
        pytest.param("é" * 60 + ".example", "not an internationalised host name (Label too long)", id="IDN too long"),
    ],
)
def test_host(host: str, reason: str) -> None:
    """A host is a name or an address that a client can connect to, with an optional port, and nothing more."""
    rule = "host must be a name or an IP address with an optional port, without scheme, user, path or blanks"
    shown = f'"{host}"'
    cut = shown if len(shown) <= 80 else f"{shown[:79]}…"
    key = f"pool-a.weighted_hosts.{shown}"
    assert refused(pool(f"{shown} = 1")) == f"pools.toml:3:20: {key}: {rule}, got {cut}: {reason}"


@pytest.mark.parametrize("host", ["0x7f000001", "1.2.3.0X4"])
def test_host_that_browsers_take_for_an_address(host: str) -> None:
    """A name whose last label is a number is an address to browsers, in hexadecimal too."""
    assert refused(pool(f'"{host}" = 1')).startswith(f'pools.toml:3:20: pool-a.weighted_hosts."{host}": host must be ')


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("a.example", "A.Example", id="case"),
        pytest.param("a.example", "a.example.", id="trailing dot"),
        pytest.param("a.example", "a.example:80", id="default port of http"),
        pytest.param("a.example", "a.example:443", id="default port of https"),
        pytest.param("a.example:80", "a.example", id="default port of http, first"),
        pytest.param("a.example:443", "a.example", id="default port of https, first"),
        pytest.param("a.example:8443", "A.EXAMPLE.:8443", id="case and dot before another port"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="IDN and its A-label"),
        pytest.param("bücher.example", "BÜCHER.example", id="IDN in capitals"),
        pytest.param("bücher.example", "bu\u0308cher.example", id="IDN, composed and decomposed"),
        pytest.param("[2001:db8::1]", "[2001:DB8:0:0::1]", id="IPv6 spellings"),
        pytest.param("[::1]:443", "[0:0:0:0:0:0:0:1]", id="IPv6 spellings with a default port"),
        pytest.param("127.0.0.1", "127.0.0.1:80", id="IPv4 with a default port"),
    ],
)
def test_doubled_host(first: str, second: str) -> None:
    """A host stands once in a pool, however it is spelled."""
    column = 20 + len(f'"{first}" = 1, ')
    assert refused(pool(f'"{first}" = 1, "{second}" = 1')) == (
        f'pools.toml:3:{column}: pool-a.weighted_hosts."{second}": is the same host as "{first}", name it once'
    )


def test_host_that_is_doubled_in_the_middle() -> None:
    """Of hosts that differ only by the default ports, the plain one is the same as either."""
    assert refused(pool('"a:80" = 1, "a:443" = 1, "a" = 1')) == (
        'pools.toml:3:45: pool-a.weighted_hosts."a": is the same host as "a:80", name it once'
    )


def test_same_host_in_two_pools() -> None:
    """A host may stand in several pools."""
    assert len(read(f"{_GOOD}[other]\nweighted_hosts = {{ A = 1 }}").pools) == 2


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        pytest.param(
            "{ a.example.com = 1 }",
            '3:20: pool-a.weighted_hosts."a": a host with dots must be quoted, write "a.example.com" = 1',
            id="inline",
        ),
        pytest.param(
            "{ x = 1, deep.eu.a.example.com = 20 }",
            '3:27: pool-a.weighted_hosts."deep": a host with dots must be quoted, write "deep.eu.a.example.com" = 20',
            id="inline, deep",
        ),
        pytest.param(
            "{ a.example.com = 1, a.example.org = 2, b.example.com = 3 }",
            '3:20: pool-a.weighted_hosts."a": a host with dots must be quoted, '
            'write "a.example.com" = 1, "a.example.org" = 2\n'
            'pools.toml:3:58: pool-a.weighted_hosts."b": a host with dots must be quoted, write "b.example.com" = 3',
            id="inline, several",
        ),
        pytest.param(
            "{ 192.0.2.1 = 1 }",
            '3:20: pool-a.weighted_hosts."192": a host with dots must be quoted, write "192.0.2.1" = 1',
            id="inline, address",
        ),
    ],
)
def test_bare_dotted_host(hosts: str, message: str) -> None:
    """A host with dots that is not quoted, which TOML reads as nested tables, gets the remedy to copy."""
    assert refused(f"[pool-a]\nis_default = true\nweighted_hosts = {hosts}\n") == f"pools.toml:{message}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(
            "a.example.com = 1",
            '4:1: pool-a.weighted_hosts."a": a host with dots must be quoted, write "a.example.com" = 1',
            id="pair",
        ),
        pytest.param(
            '"x" = 1\n  deep.eu.a.example.com = 1',
            '5:3: pool-a.weighted_hosts."deep": a host with dots must be quoted, write "deep.eu.a.example.com" = 1',
            id="deep",
        ),
        pytest.param(
            "[pool-a.weighted_hosts.a.example]\ncom = 1",
            '4:24: pool-a.weighted_hosts."a": a host with dots must be quoted, write "a.example.com" = 1',
            id="header",
        ),
    ],
)
def test_bare_dotted_host_in_a_table(lines: str, message: str) -> None:
    """The remedy is the same where the hosts have a table of their own."""
    assert refused(f"[pool-a]\nis_default = true\n[pool-a.weighted_hosts]\n{lines}\n") == f"pools.toml:{message}"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("200", "200"),
        ("300", "300"),
        ("304", "304"),
        ("404", "404"),
        ("-302", "-302"),
        ("302.0", "302.0"),
        ('"302"', '"302"'),
        ("true", "true"),
        ("[302]", "an array"),
        ("{ a = 1 }", "a table"),
        ("1979-05-27", "1979-05-27"),
    ],
)
def test_status(status: str, shown: str) -> None:
    """A status is one of the five that redirect to a Location."""
    assert refused(f"{pool('a = 1')}status = {status}") == (
        f"pools.toml:4:10: pool-a.status: status must be one of 301, 302, 303, 307, 308, got {shown}"
    )


@pytest.mark.parametrize(("flag", "shown"), [("1", "1"), ("0", "0"), ('"true"', '"true"'), ("[]", "an array")])
def test_is_default(flag: str, shown: str) -> None:
    """is_default is a flag."""
    assert refused(f"{_GOOD}[pool-a]\nweighted_hosts = {{ a = 1 }}\nis_default = {flag}") == (
        f"pools.toml:6:14: pool-a.is_default: is_default must be true or false, got {shown}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[pool-a]\nweighted_hosts = { a = 1 }\n", f"{_DEFAULT} [pool-a]", id="no default"),
        pytest.param(
            '# first\n["eu.west"]\nweighted_hosts = { a = 1 }\n',
            f'{_DEFAULT} ["eu.west"]',
            id="no default, name in quotes",
        ),
        pytest.param(
            "[pool-a]\nweighted_hosts = { a = 1 }\nis_default = false\n", f"{_DEFAULT} [pool-a]", id="default denied"
        ),
        pytest.param(f"{_GOOD}[a]\n", f"pools.toml:4:2: a: {_MISSING}", id="weighted_hosts missing"),
        pytest.param(
            f"{_GOOD}[a]\nweighted_hosts = 1\n",
            f"pools.toml:5:18: a.weighted_hosts: {_PAIRS}, got 1",
            id="weighted_hosts is a number",
        ),
        pytest.param(
            f"{_GOOD}[a]\nweighted_hosts = 'x'\n",
            f'pools.toml:5:18: a.weighted_hosts: {_PAIRS}, got "x"',
            id="weighted_hosts is a string",
        ),
        pytest.param(
            f"{_GOOD}[a]\nweighted_hosts = ['x']\n",
            f"pools.toml:5:18: a.weighted_hosts: {_PAIRS}, got an array",
            id="weighted_hosts is an array",
        ),
        pytest.param(
            f"{_GOOD}[[a.weighted_hosts]]\nx = 1\n",
            f"pools.toml:4:21: a.weighted_hosts: {_PAIRS}, got an array",
            id="weighted_hosts is an array of tables",
        ),
        pytest.param(
            f"{_GOOD}[a]\nweighted_hosts = {{}}\n",
            "pools.toml:5:18: a.weighted_hosts: weighted_hosts needs at least one host with a weight above 0",
            id="weighted_hosts is empty",
        ),
        pytest.param(
            f"{_GOOD}[a]\nweighted_hosts = {{ x = 0, y = 0 }}\n",
            "pools.toml:5:18: a.weighted_hosts: weighted_hosts needs at least one host with a weight above 0",
            id="all weights are 0",
        ),
        pytest.param(
            f"{_GOOD}[a.weighted_hosts]\nx = 0\n",
            "pools.toml:4:19: a.weighted_hosts: weighted_hosts needs at least one host with a weight above 0",
            id="all weights of a table are 0",
        ),
        pytest.param(f"a = 1\n{_GOOD}", f"pools.toml:1:1: a: {_TABLE}, got 1", id="pool is a number"),
        pytest.param(f" 'a' = 'x'\n{_GOOD}", f'pools.toml:1:2: a: {_TABLE}, got "x"', id="pool is a string"),
        pytest.param(f"a = []\n{_GOOD}", f"pools.toml:1:1: a: {_TABLE}, got an array", id="pool is an array"),
        pytest.param(
            f"{_GOOD}[[a]]\nweighted_hosts = {{ x = 1 }}\n",
            f"pools.toml:4:3: a: {_TABLE}, got an array",
            id="pool is an array of tables",
        ),
        pytest.param(
            f"is_default = true\n{_GOOD}",
            "pools.toml:1:1: is_default: is a key of a pool; write a line like [pool-a] before it",
            id="key above the first pool",
        ),
        pytest.param(f"{_GOOD}flavour = true\n", f"pools.toml:4:1: good.flavour: {_UNKNOWN}", id="unknown key"),
        pytest.param(
            f"{_GOOD}healthcheck = true\n",
            f"pools.toml:4:1: good.healthcheck: {misspelt('health_check')}",
            id="key without its underscore",
        ),
        pytest.param(
            f"{_GOOD}Status = 302\n", f"pools.toml:4:1: good.Status: {misspelt('status')}", id="key in capitals"
        ),
        pytest.param(f"{_GOOD}'a b' = 302\n", f'pools.toml:4:1: good."a b": {_UNKNOWN}', id="unknown key in quotes"),
        pytest.param(
            f"{_GOOD}'[key]' = 302\n", f'pools.toml:4:1: good."[key]": {_UNKNOWN}', id="unknown key in brackets"
        ),
        pytest.param(
            f"{_GOOD}[a]\nweighted_host = {{ x = 1 }}\n",
            f"pools.toml:4:2: a: {_MISSING}\npools.toml:5:1: a.weighted_host: {misspelt('weighted_hosts')}",
            id="weighted_hosts with a letter missing",
        ),
        pytest.param(
            f"{_GOOD}[eu.west]\nweighted_hosts = {{ x = 1 }}\n",
            f"pools.toml:4:2: eu: {_MISSING}\n"
            f'pools.toml:4:5: eu.west: {_UNKNOWN}; a pool\'s name with dots must be quoted, write ["eu.west"]',
            id="pool's name with a dot, not quoted",
        ),
        pytest.param(
            f"{_GOOD}[eu.west.files]\nweighted_hosts = {{ x = 1 }}\n",
            f"pools.toml:4:2: eu: {_MISSING}\n"
            f'pools.toml:4:5: eu.west: {_UNKNOWN}; a pool\'s name with dots must be quoted, write ["eu.west.files"]',
            id="pool's name with two dots, not quoted",
        ),
        pytest.param(
            f"{_GOOD}['']\nweighted_hosts = {{ x = 1 }}\n",
            f'pools.toml:4:2: "": {_NAME}, got ""',
            id="pool without a name",
        ),
        pytest.param(
            f"{_GOOD}['a b']\nweighted_hosts = {{ x = 1 }}\n",
            f'pools.toml:4:2: "a b": {_NAME}, got "a b"',
            id="blank in a pool's name",
        ),
        pytest.param(
            f"{_GOOD}[ 'é' ]\nweighted_hosts = {{ x = 1 }}\n",
            f'pools.toml:4:3: "é": {_NAME}, got "é"',
            id="letter beyond ASCII in a pool's name",
        ),
        pytest.param(
            f'{_GOOD}["a\\u0007"]\nweighted_hosts = {{ x = 1 }}\n',
            f'pools.toml:4:2: "a\\u0007": {_NAME}, got "a\\u0007"',
            id="control byte in a pool's name",
        ),
        pytest.param(
            f"{_GOOD}[{'x' * 129}]\nweighted_hosts = {{ x = 1 }}\n",
            f'pools.toml:4:2: {"x" * 129}: {_NAME}, got "{"x" * 78}…',
            id="pool's name of 129",
        ),
    ],
)
def test_faults(text: str, message: str) -> None:
    """What is wrong with a pool is said with its place, the key, the value and what is allowed."""
    assert refused(text) == message


EVERYTHING_WRONG = """\
# é😀
top = 1
[pool-a]
is_default = "yes"
weighted_hosts = { "http://a" = 1, b = -1, "B." = 2, c.d = 1 } # three
status = 300
flavour = "red"

["pool b"]
weighted_hosts = { a = 0 }
  [pool-c]
  status = "302"
"""

EVERYTHING_SAID = f"""\
pools.toml:2:1: top: {_TABLE}, got 1
pools.toml:4:14: pool-a.is_default: is_default must be true or false, got "yes"
pools.toml:5:20: pool-a.weighted_hosts."http://a": host must be a name or an IP address with an optional port, \
without scheme, user, path or blanks, got "http://a": {_HOST_PORT}
pools.toml:5:40: pool-a.weighted_hosts."b": weight must be a whole number from 0 to 1000000, got -1
pools.toml:5:44: pool-a.weighted_hosts."B.": is the same host as "b", name it once
pools.toml:5:54: pool-a.weighted_hosts."c": a host with dots must be quoted, write "c.d" = 1
pools.toml:6:10: pool-a.status: status must be one of 301, 302, 303, 307, 308, got 300
pools.toml:7:1: pool-a.flavour: {_UNKNOWN}
pools.toml:9:2: "pool b": {_NAME}, got "pool b"
pools.toml:10:18: "pool b".weighted_hosts: weighted_hosts needs at least one host with a weight above 0
pools.toml:11:4: pool-c: {_MISSING}
pools.toml:12:12: pool-c.status: status must be one of 301, 302, 303, 307, 308, got "302\""""


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(EVERYTHING_WRONG, id="as it is"),
        pytest.param(EVERYTHING_WRONG.replace("\n", "\r\n"), id="CRLF"),
        pytest.param(f"\ufeff{EVERYTHING_WRONG}", id="byte order mark"),
        pytest.param("\ufeff" + EVERYTHING_WRONG.replace("\n", "\r\n"), id="byte order mark and CRLF"),
    ],
)
def test_all_faults_at_once(content: str) -> None:
    """All faults are told at once, in the order of the file, whatever its line ends and its first bytes."""
    assert refused(content) == EVERYTHING_SAID


def test_places_with_crlf_inside_strings() -> None:
    """Lines are counted through strings that run over several of them."""
    text = f'[a]\nnote = """\n\n[b]\n"""\nsize = 1\n{_GOOD}'.replace("\n", "\r\n")
    assert refused(text) == (
        f"pools.toml:1:2: a: {_MISSING}\npools.toml:2:1: a.note: {_UNKNOWN}\npools.toml:6:1: a.size: {_UNKNOWN}"
    )


# A large file is read in pieces


@pytest.mark.slow
def test_a_piece_is_read_once() -> None:
    """What did not change since another configuration is not read again: its pools are the same objects."""
    text = "".join(f"[p{n}]\nweighted_hosts = {{ a = 1 }}\nis_default = true\n" for n in range(1000))
    for changed in (
        text.replace("[p500]", "[another]"),
        f"[first]\nweighted_hosts = {{ a = 1 }}\n{text}",
        text.replace("[p500]\nweighted_hosts = { a = 1 }", "[p500]\nweighted_hosts = { a = 2 }"),
        text.partition("[p500]")[0],
    ):
        loader = Loader("pools.toml")
        before, after = loader.parse(text.encode()), loader.parse(changed.encode())
        assert (after, [*after.pools]) == (read(changed), [*read(changed).pools])
        assert sum(before.pools.get(name) is not pool for name, pool in after.pools.items()) < 500


def test_a_version_with_faults_is_not_kept() -> None:
    """A file that was empty for a moment is as quickly read as before once its content is back."""
    text = "".join(f"[p{n}]\nweighted_hosts = {{ a = 1 }}\nis_default = true\n" for n in range(100))
    loader = Loader("pools.toml")
    before = loader.parse(text.encode())
    with pytest.raises(ConfigError):
        loader.parse(b"")
    assert all(pool is before.pools[name] for name, pool in loader.parse(text.encode()).pools.items())


def test_warnings_among_many_pools() -> None:
    """A warning has its place in the file, also where only some of the pieces are searched for it."""
    text = "# first\n" + "".join(f"[p{n}]\nweighted_hosts = {{ a = 1, b = 1 }}\n" for n in range(1000))
    text = text.replace("[p500]", "[p500]\nis_default = true\nstatus = 301").replace("[p900]", "[p900]\nstatus = 308")
    assert [(fault.line, fault.column, fault.key) for fault in read(text).warnings] == [
        (1004, 10, "p500.status"),
        (1805, 10, "p900.status"),
    ]


def test_the_same_piece_twice() -> None:
    """Pools that a file names twice are a fault, also where they are a piece that was read before."""
    text = "".join(f"[p{n}]\nweighted_hosts = {{ a = 1 }}\nis_default = true\n" for n in range(300))
    loader = Loader("pools.toml")
    loader.parse(text.encode())
    with pytest.raises(ConfigError) as twice:
        loader.parse(text.encode() * 2)
    assert str(twice.value).startswith("pools.toml:901:4: not TOML: Cannot declare ('p0',) twice")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{_GOOD}[b]\nweighted_hosts = {{ b = 1 }}\n[c]\nweighted_hosts = {{ c = 1 }}\n", id="pools"),
        pytest.param(f"{_GOOD}[b]\nweighted_hosts = {{ b = 1 }}\n".replace("\n", "\r\n"), id="CRLF"),
        pytest.param(f"{_GOOD}[b]\nstatus = 301\n[b.weighted_hosts]\nb = 1\nc = 1\n", id="table of a pool"),
        pytest.param("[a.weighted_hosts]\nb = 1\n[a]\nis_default = true\n", id="pool in two places"),
        pytest.param("a.is_default = true\n[a.weighted_hosts]\nb = 1\n[b]\nstatus = 200\n", id="pool before the first"),
        pytest.param(f'{_GOOD}[b]\nweighted_hosts = {{ b = 1 }}\nx = """\n[c]\n"""\n', id="not a pool but a string"),
        pytest.param(f"{_GOOD}[b]\nweighted_hosts = [\n[c],\n[d]\n]\n", id="not a pool but an array"),
        pytest.param(f"{_GOOD}[good]\nweighted_hosts = {{ b = 1 }}\n", id="pool twice"),
        pytest.param(f"{_GOOD}[b]\nweighted_hosts = {{ b = -1 }}\n[c]\nweighted_hosts = {{ c = 2 c }}\n", id="no TOML"),
        pytest.param("# nothing\n", id="no pool"),
        pytest.param("[a]\nweighted_hosts = { b = 1 }\n[c]\nstatus = 200\n", id="no default pool"),
        pytest.param(EVERYTHING_WRONG, id="every fault"),
    ],
)
def test_pieces_mean_what_the_whole_means(text: str) -> None:
    """Where the pieces of a file end makes no difference, neither to what it holds nor to its faults."""
    assert outcome_in_pieces(text) == outcome_as_a_whole(text)


def test_one_fault_refuses_the_file() -> None:
    """Nothing is half applied: a fault in the last pool refuses the good ones before it."""
    with pytest.raises(ConfigError) as refusal:
        read(f"{_GOOD}[other]\nweighted_hosts = {{ a = 1 }}\nstatus = 200\n")
    assert [fault.key for fault in refusal.value.faults] == ["other.status"]


def test_fields_of_a_fault() -> None:
    """A fault is a value whose parts programs can read."""
    with pytest.raises(ConfigError) as refusal:
        read(pool('"a" = -1'))
    message = "weight must be a whole number from 0 to 1000000, got -1"
    assert refusal.value.faults == (Fault(FILE, 3, 26, 'pool-a.weighted_hosts."a"', message),)


scalars: st.SearchStrategy[object] = (
    st.integers() | st.booleans() | st.text(max_size=5) | st.floats() | st.dates() | st.just([])
)
anything = st.recursive(scalars, lambda values: st.dictionaries(st.text(max_size=5), values, max_size=3), max_leaves=8)
near_pools = st.fixed_dictionaries(
    {},
    optional={
        "weighted_hosts": st.dictionaries(st.text("aA.:1[]é@ ", max_size=6), st.integers(-1, 3) | anything, max_size=4)
        | anything,
        "status": st.sampled_from([301, 302, 200]) | anything,
        "is_default": st.booleans() | anything,
        "x": anything,
    },
)


@pytest.mark.slow
@generated(300)
@given(st.dictionaries(st.text("ab -é", max_size=3), near_pools | anything, max_size=4))
def test_any_document(document: dict[str, Any]) -> None:
    """Any document that is TOML becomes a whole configuration or a list of faults, each at a place in the file."""
    text = tomli_w.dumps(document)
    lines = text.split("\n")
    try:
        config = read(text)
    except ConfigError as error:
        faults = error.faults
    else:
        faults = config.warnings
        assert list(config.pools) == list(document)
        assert all(pool.status in (301, 302, 303, 307, 308) for pool in config.pools.values())
        assert all(any(origin.weight for origin in pool.origins) for pool in config.pools.values())
    assert all(fault.message and 1 <= fault.column <= len(lines[fault.line - 1]) + 1 for fault in faults)


@pytest.mark.slow
@generated(300)
@given(st.lists(st.sampled_from(EVERYTHING_WRONG.splitlines() + _GOOD.splitlines() + ['"""', "[", "]", "[a]"])))
def test_any_pieces(lines: list[str]) -> None:
    """The same for any lines, in any order."""
    text = "\n".join(lines)
    assert outcome_in_pieces(text) == outcome_as_a_whole(text)


# Warnings: what is legal but will surprise

_CACHED = "so the weights lose their meaning; 302, 303 and 307 are not cached"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        pytest.param(f"{pool('a = 1, b = 1')}status = 302", [], id="temporary"),
        pytest.param(f"{pool('a = 1')}status = 301", [], id="permanent with one origin"),
        pytest.param(
            f"{pool('a = 1, b = 1')}status = 301",
            [f"pools.toml:4:10: pool-a.status: browsers cache a permanent redirect (301), {_CACHED}"],
            id="301 with two origins",
        ),
        pytest.param(
            f"{pool('a = 1, b = 0')}status = 308",
            [f"pools.toml:4:10: pool-a.status: browsers cache a permanent redirect (308), {_CACHED}"],
            id="308 with two origins, one drained",
        ),
        pytest.param(
            f"{_GOOD}[b]\nis_default = true\nweighted_hosts.a = 1\n[c]\nweighted_hosts.a = 1\nis_default = true",
            [
                'pools.toml:5:14: b.is_default: has no effect, "good" is the default pool already',
                'pools.toml:9:14: c.is_default: has no effect, "good" is the default pool already',
            ],
            id="three defaults",
        ),
        pytest.param(
            f"{_GOOD}[b]\nis_default = true\nstatus = 301\nweighted_hosts = {{ a = 1, b = 1 }}\n",
            [
                'pools.toml:5:14: b.is_default: has no effect, "good" is the default pool already',
                f"pools.toml:6:10: b.status: browsers cache a permanent redirect (301), {_CACHED}",
            ],
            id="both, in the order of the file",
        ),
    ],
)
def test_warnings(text: str, warnings: list[str]) -> None:
    """What is legal but will surprise is a warning, and the file is taken."""
    assert [str(warning) for warning in read(text).warnings] == warnings
