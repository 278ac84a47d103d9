"""Reads what a pool with `pick = "hash"` tells clients by from a request.

The rule: a key is the bytes that came. Nothing is decoded or put into another form, so what an origin would take for
the same value in another spelling is another key. A request without the field, the cookie or the parameter has an empty
key, as with an empty one. Of cookies or parameters of one name the first counts; fields are joined by commas.
"""

from collections.abc import Iterable

from redirect.proxy.fields import Fields, values


def key_of(hash_on: str, target: str, client_ip: str | None, fields: Fields) -> bytes:
    kind, _, text = hash_on.partition(":")
    if kind == "client_ip":
        return (client_ip or "").encode("latin-1")
    name = text.encode("ascii")
    if kind == "query":
        return _value(name, target.partition("?")[2].encode("latin-1").split(b"&"))
    if kind == "header":
        return b", ".join(values(name, fields))
    return _value(name, [pair.strip(b" \t") for value in values(b"cookie", fields) for pair in value.split(b";")])


def _value(name: bytes, pairs: Iterable[bytes]) -> bytes:
    """That of the first `name=value`."""
    found = (value for each, _, value in (pair.partition(b"=") for pair in pairs) if each == name)
    return next(found, b"")
