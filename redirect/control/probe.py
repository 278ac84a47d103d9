"""One probe: a request to an origin, and what came of it.

The rule: what counts is the status that an answer begins with, and that it comes in time. Redirects are not followed,
no body is read, and nothing that comes back is believed to be well-formed or to end.
"""

import asyncio
import functools
import os
import socket
import ssl
from importlib.metadata import version
from types import SimpleNamespace
from typing import NamedTuple

import httptools

from redirect.core.authority import Authority, parse
from redirect.core.pools import HealthCheck

# Bytes of an answer in which its status must be.
LONGEST_HEAD = 64 * 1024

# Seconds until the next one of a name's addresses is tried as well (RFC 8305).
NEXT_ADDRESS = 0.25

_AGENT = f"redirect/{version('redirect')} (health check)"

_tls = functools.cache(ssl.create_default_context)


def forget_authorities() -> None:
    """Has those that certificates are checked by read again, as new workers read them."""
    _tls.cache_clear()


class Target(NamedTuple):
    origin: Authority
    check: HealthCheck
    path_prefix: str = ""  # the origin's
    called: Authority | None = None  # the origin's own name, where it is another


async def probe(target: Target) -> str | None:
    """What is wrong with the target; None if it answers as it should."""
    check = target.check
    try:
        async with asyncio.timeout(check.timeout):
            status = await _ask(target)
    except TimeoutError:
        if target.origin.host in getattr(asyncio.get_running_loop(), "names", ()):  # see `prober.Loop`
            return f"no name server answers within {check.timeout:g} s"
        return f"no answer within {check.timeout:g} s"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not valid: {error.verify_message}"
    except ssl.SSLError as error:
        return f"no TLS: {error.reason}"
    except socket.gaierror as error:
        return f"its name leads nowhere: {error.strerror}"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, EOFError) as error:
        return f"no answer in HTTP: {error}"
    return None if check.is_good(status) else f"answered {status} and not {check.expected}"


async def _ask(target: Target) -> int:
    origin, check, prefix, called = target
    host, port = origin.endpoint(check.scheme)
    name = check.host or str(called or origin)
    is_tls = check.scheme == "https"
    reader, writer = await asyncio.open_connection(
        host.strip("[]"),
        check.port or port,
        ssl=_tls() if is_tls else None,
        server_hostname=parse(name).host.strip("[]") if is_tls else None,
        happy_eyeballs_delay=NEXT_ADDRESS,
    )
    try:
        fields = {"host": name, "user-agent": _AGENT, "accept": "*/*", "connection": "close"}
        fields |= {key.lower(): value for key, value in check.headers}
        lines = [f"{check.method} {prefix}{check.path} HTTP/1.1", *(f"{key}: {fields[key]}" for key in fields)]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        return await _status(reader)
    finally:
        writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the answer, after those that only announce one (1xx)."""
    final: list[int] = []

    def on_headers_complete() -> None:
        if (status := parser.get_status_code()) >= 200:
            final.append(status)

    parser = httptools.HttpResponseParser(SimpleNamespace(on_headers_complete=on_headers_complete))
    read = 0
    while not final:
        data = await reader.read(4096)
        read += len(data)
        if not data or read > LONGEST_HEAD:
            raise EOFError("it ends too soon" if not data else f"no end of its head within {LONGEST_HEAD} bytes")
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not final:  # what is wrong behind the head does not matter
                raise
    return final[0]
