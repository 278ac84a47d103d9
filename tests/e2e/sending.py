"""What clients send to nginx that hides a request in another one, and what they get."""

import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from support.corpus import ANSWERED_LAST, READ_AS_BODY, REFUSED, UNFINISHED
from support.wire import head

CORPUS = READ_AS_BODY | REFUSED | ANSWERED_LAST | UNFINISHED
CONNECTIONS = 32  # at once

# Seconds without a byte after which a client ends its connection: nginx waits for the rest of a request.
PATIENCE = 2.0

# Of what was sent: none comes twice while there is a stack, whose logs hold all of it.
MARKS = count()

# What hides a request, by the way in which who reads it may differ. In the other groups of the corpus nobody can take
# the two requests for one: there is something wrong with the first.
HIDING = ("CL.0", "CL.TE", "TE.0", "TE.CL", "TE.TE", "lengths", "chunks", "line ends", "unfinished")

# Of these what nginx takes for the end of a request, so that the hidden one is the client's next. It may: a line feed
# alone ends a line (RFC 9112, 2.2), and fields that it does not know say nothing about a body.
ENDED_FOR_NGINX = {
    *(f"lengths: {name!r} as name" for name in ("{}\xa0", '"{}"', "{},", "({})", "{}/")),
    "line ends, folds and NUL: 'GET / HTTP/1.1\\nHost: a\\n\\n'",
    "line ends, folds and NUL: 'GET / HTTP/1.1\\nHost: a\\r\\n\\r\\n'",
    "line ends, folds and NUL: 'GET / HTTP/1.1\\r\\nHost: a\\n\\r\\n'",
    "line ends, folds and NUL: 'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\n'",
    "line ends, folds and NUL: 'GET / HTTP/1.1\\r\\nHost: a\\n\\n'",
}


class Seen(NamedTuple):
    """What a client got on one connection: all bytes of it."""

    received: bytes

    @property
    def statuses(self) -> list[int]:
        """Of its answers, in their order; that one may go on with a body is none."""
        found = re.findall(rb"(?:^|\n|>|\})HTTP/1\.1 (\d\d\d) ", self.received)
        return [int(status) for status in found if status != b"100"]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Of all answers; lines of nginx's own pages are none."""
        found = re.findall(rb"\n([^\s:<>]+): ([^\r]*)(?=\r\n)", self.received)
        return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in found]

    @property
    def targets(self) -> list[str]:
        """Behind the origins in the Locations that it got, in their order."""
        return [f"/{value.partition('//')[2].partition('/')[2]}" for name, value in self.fields if name == "location"]


def sent_to(port: int, sent: bytes) -> Seen:
    """What nginx answers to all of it, until either of them ends the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection, suppress(ConnectionError):
        connection.sendall(sent)
        for _ in range(2):
            try:
                while piece := connection.recv(65536):
                    received += piece
                break
            except TimeoutError:
                connection.shutdown(socket.SHUT_WR)
    return Seen(received)


class Sending(NamedTuple):
    """What one client sends: rows of the corpus, each with targets of its own, and a request behind them."""

    mark: str
    names: Sequence[str]
    sent: bytes

    @classmethod
    def of(cls, names: Sequence[str], rows: Mapping[str, bytes]) -> "Sending":
        mark = f"{next(MARKS):05x}"  # so long that the hidden request keeps its length
        pieces = [
            rows[name].replace(b"/smuggled", f"/s{mark}-{n:02}".encode()).replace(b" / ", f" /c{mark}-{n:02} ".encode())
            for n, name in enumerate(names)
        ]
        last = head(f"GET /n{mark}-00 HTTP/1.1", "Connection: close")
        return cls(mark, names, b"".join(pieces) + last)

    def own(self, targets: Sequence[str]) -> list[str]:
        """Those of the targets that are of this one."""
        return [target for target in targets if re.match(f"/[scn]{self.mark}-", target)]

    def hidden(self, targets: Sequence[str]) -> list[str]:
        """The names of the rows of which the hidden request is among the targets, though nobody may take it for one."""
        found = [int(match[1]) for target in targets if (match := re.match(f"/s{self.mark}-(..)", target))]
        names = [self.names[n] for n in found]
        return [name for name in names if name.startswith(HIDING) and name not in ENDED_FOR_NGINX]
