"""Ejections: which origins are down for failures of forwards, and for how long.

The rule: at most half of a pool's origins are ejected, and never the last one that may be picked: where all fail, the
cause is elsewhere. Each ejection in a row is longer.
"""

from collections.abc import Container

from redirect.core.pools import MAX_EJECTION_SECONDS, Ejection, Pool

# Statuses of answers that are failures of the origin.
FAILURES = (502, 503, 504)

# What is said of an origin, by the error of RFC 9209 or the status of its answer. Processes share the position in it.
_OTHER = "its answer failed"
_WORDS = {
    "connection_refused": "it refused the connection",
    "connection_timeout": "there was no connection in time",
    "dns_error": "its name is not resolved",
    "destination_ip_unroutable": "it is not reached",
    "tls_certificate_error": "its certificate is not valid",
    "tls_protocol_error": "there is no TLS with it",
    "http_response_incomplete": "it closed the connection before its answer was complete",
    "http_response_timeout": "its answer was late",
    "http_protocol_error": "what it sent is no HTTP",
    "http_response_header_section_size": "the head of its answer is too large",
    **{str(status): f"it answered {status}" for status in FAILURES},
}
_CODES = {error: code for code, error in enumerate(_WORDS)}


def code_of(error: str) -> int:
    """The number by which processes know the error."""
    return _CODES.get(error, len(_CODES))


def words_of(code: int) -> str:
    return [*_WORDS.values(), _OTHER][code]


def seconds(ejection: Ejection, times: int) -> float:
    """How long the ejection lasts that is the how manieth in a row."""
    return min(ejection.for_ * times, MAX_EJECTION_SECONDS)


def may_eject(pool: Pool, origin: str, down: Container[str], ejected: frozenset[str]) -> bool:
    """`down` are the origins that probes found down, `ejected` those that are ejected or on trial."""
    others = [each.name for each in pool.origins if each.weight and each.name != origin]
    left = [name for name in others if name not in down and name not in ejected]
    return bool(left) and len(ejected | {origin}) <= (len(others) + 1) // 2
