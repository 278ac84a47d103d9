"""The sockets that the service listens on: at its own addresses, or given by systemd (sd_listen_fds(3)).

The rule: what is given takes the place of an address, named `public` or `admin` by FileDescriptorName=, else in that
order; the other listener has its own address still. gunicorn would take given sockets and nothing else.
"""

import errno
import os
import socket
import stat
from collections.abc import Mapping, MutableMapping

from redirect.config.settings import UNIX, Settings

_FIRST = 3
_NAMES = ("public", "admin")


# By the name of a listener, the descriptor that was given for it.
Given = Mapping[str, int]


def take_given(environ: MutableMapping[str, str] = os.environ) -> Given:
    """What systemd gives this process, whose variables end here but for the names. Raises ValueError."""
    if environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return {}
    number = environ.pop("LISTEN_FDS", "0")
    if not number.isdecimal():
        raise ValueError(f"must be how many sockets are given, got {number!r}")
    count = int(number)
    said = environ.setdefault("LISTEN_FDNAMES", "").split(":")
    names = said if {*said} & {*_NAMES} else [*_NAMES]
    given = {name: _FIRST + index for index, name in enumerate(names[:count]) if name in _NAMES}
    if len(given) < count:
        called = f"{count} sockets are given, called {':'.join(said)}"
        raise ValueError(f"{called}: there is one listener called public and one admin")
    for name, descriptor in given.items():
        if not _is_stream(descriptor):
            raise ValueError(f"descriptor {descriptor}, given as {name}, is no stream socket")
    return given


def _is_stream(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as given:
            return given.type == socket.SOCK_STREAM
    except OSError:
        return False


def are_given() -> bool:
    """Whether systemd gave sockets to this process, or to the master that it replaces."""
    return "LISTEN_FDNAMES" in os.environ


def addresses(settings: Settings, given: Given) -> dict[str, str]:
    """By name, those of the listeners for which nothing is given."""
    own = {"public": settings.public_bind, "admin": settings.admin_bind}
    return {name: address for name, address in own.items() if address != "off" and name not in given}


def binds(settings: Settings, given: Given) -> list[str]:
    """The listeners as gunicorn takes them, the public one first: all addresses, or all descriptors."""
    own = addresses(settings, given)
    if not given:
        return [*own.values()]
    descriptors = {**given, **{name: bound(address).detach() for name, address in own.items()}}
    return [f"fd://{descriptors[name]}" for name in _NAMES if name in descriptors]


def bound(address: str) -> socket.socket:
    """A socket at an address, host:port or unix:path, that does not listen yet."""
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        _free(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        return listener
    host, _, port = address.rpartition(":")
    family, *_, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        listener.bind(place)
    except OSError:
        listener.close()
        raise
    return listener


def _free(path: str) -> None:
    """Removes a socket that is left of a service that was killed. Raises OSError if one listens there, or another file
    has the name."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)  # one whose queue is full listens, too
        try:
            client.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EEXIST, "there is a file that is no socket") from None
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
