"""Authorities: a host with an optional port, as in a Host header field, a target or the TOML.

The rule: two spellings of one authority become equal values. Letters are lower-cased, one trailing dot is dropped, an
internationalised name becomes its A-labels (IDNA 2008 with the mappings of UTS 46), an IPv6 literal gets one spelling,
and the port is compared as the one that a client would connect to.

Names of letters, digits, `-` and `_`, and IP literals are accepted. Userinfo, paths, percent escapes, commas and
blanks are not: no client can connect to such a host, and each of them has been used to deceive a proxy. The host that a
client asks for may be odd, as `foo-.example` is: RFC 3986 allows it, some resolvers know it, and no origin is named so.
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

import idna

DEFAULT_PORTS = {"http": 80, "https": 443}

# A normalised host and a port: what a client connects to.
Endpoint = tuple[str, int]

# The longest name is 253 characters (RFC 1035). Longer texts are no authority in any spelling.
MAX_CHARACTERS = 1024

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{0,5}))?")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ODD_NAME = re.compile(r"\.*[a-z0-9_~!$&'()*+;=-][a-z0-9._~!$&'()*+;=-]*")  # of RFC 3986, without escapes and commas


class Authority(NamedTuple):
    """A normalised host (an IPv6 literal keeps its brackets) and the port, None if none is named."""

    host: str
    port: int | None

    def __str__(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    def endpoint(self, scheme: str) -> Endpoint:
        return self.host, self.port or DEFAULT_PORTS[scheme]


@lru_cache(maxsize=4096)
def parse(text: str, may_be_odd: bool = False) -> Authority:
    """Returns the authority that `text` spells; raises ValueError with the reason if it spells none."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError("longer than any host name")
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or not match["host"]:
        raise ValueError("not a host with an optional port")
    return Authority(_host(match["host"], may_be_odd), _port(match["port"]))


def parse_raw(text: str) -> Authority:
    """Returns the authority that a client asks for by bytes that are given as latin-1. Browsers send A-labels; what is
    not ASCII is read as the UTF-8 of an internationalised name. Raises ValueError."""
    return parse(text if text.isascii() else text.encode("latin-1").decode("utf-8"), True)


def _port(digits: str | None) -> int | None:
    if not digits:  # "host:" names no port (RFC 3986, section 3.2.3)
        return None
    if not 1 <= (port := int(digits)) <= 65535:
        raise ValueError("port must be from 1 to 65535")
    return port


def _host(text: str, may_be_odd: bool) -> str:
    if text.startswith("["):
        if "%" in text:
            raise ValueError("an address with a zone has a meaning on one machine only")
        return f"[{IPv6Address(text[1:-1]).compressed}]"
    name = (text if text.isascii() else _a_labels(text)).lower().removesuffix(".")
    is_usual = len(name) <= 253 and _NAME.fullmatch(name)
    if not is_usual and not (may_be_odd and _ODD_NAME.fullmatch(name)):
        raise ValueError("a host name is made of letters, digits, - and _ between dots")
    return text if name == text else name  # a configuration that keeps both keeps one string


def _a_labels(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError(f"not an internationalised host name ({error})") from None
