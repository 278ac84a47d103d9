"""A scripted Docker daemon on a unix socket, which sends the bytes that tests want: its lists, its events, or nonsense.

It has what `redirect` asks of a daemon, as an engine of API 1.41 answered it: `/_ping`, lists by label and by id, and
the stream of events. A test that wants something else gives `answers` for a path.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Entry = dict[str, Any]  # of a list
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def full_id(number: int) -> str:
    return f"{number:012x}" + "0" * 52


def container(number: int, name: str | None = None, **given: Any) -> Entry:
    """An entry of a list: a running container with the label `app=shop` and port 8080, but for what is `given`:
    `labels`, `state`, `health`, `ports`, `networks` (addresses by name), `mode`, `status`."""
    state, health = given.get("state", "running"), given.get("health")
    networks: Mapping[str, str] = given.get("networks", {"front": f"172.18.{number >> 8}.{number & 255}"})
    return {
        "Id": full_id(number),
        "Names": [f"/{name or f'shop-{number}'}"],
        "Image": "shop",
        "Labels": {"app": "shop"} | given.get("labels", {}),
        "State": state,
        "Status": given.get("status", "Up 2 seconds" + (f" ({health})" if health else "")),
        "Ports": [{"PrivatePort": port, "Type": "tcp"} for port in given.get("ports", (8080,))],
        "HostConfig": {"NetworkMode": given.get("mode", next(iter(networks), "none"))},
        "NetworkSettings": {
            "Networks": {
                name: {
                    "EndpointID": given.get("endpoint", f"{number}-{name}") if address else "",
                    "IPAddress": "" if ":" in address else address,
                    "GlobalIPv6Address": address if ":" in address else "",
                }
                for name, address in networks.items()
            }
        },
        "Mounts": [],
    }


def event(action: str, attributes: Mapping[str, str], number: int = 1, kind: str = "container") -> bytes:
    actor = {"ID": full_id(number), "Attributes": attributes}
    return json.dumps({"Type": kind, "Action": action, "Actor": actor, "time": 1}).encode() + b"\n"


def http(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = "".join(f"{field}\r\n" for field in (f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}"))
    return f"{head}\r\n".encode() + body


def says(data: bytes) -> Answer:
    """Sends these bytes, and ends."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


async def silent(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


class Daemon:
    """`asked` are the targets of all requests, without the version in front, and `heads` what was sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = "1.41"
        self.containers: dict[str, Entry] = {}
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.answers: dict[str, Answer] = {}  # by the last part of the path: `_ping`, `json`, `events`
        self._streams: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    @property
    def lists(self) -> int:
        return sum("/containers/json" in each for each in self.asked)

    @property
    def subscribers(self) -> int:
        return len(self._streams)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self.path.unlink(missing_ok=True)

    def put(self, *entries: Entry) -> None:
        self.containers |= {each["Id"]: each for each in entries}

    def emit(self, action: str, number: int = 1, kind: str = "container", **attributes: str) -> None:
        self.send(event(action, attributes, number, kind))

    def send(self, data: bytes) -> None:
        """Sends these bytes as a part of the events."""
        for stream in self._streams:
            stream.write(b"%x\r\n%b\r\n" % (len(data), data))

    def cut(self) -> None:
        """Ends the streams of events as a proxy with a time limit does."""
        for stream in self._streams:
            stream.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if not await self._answer(self.heads[-1].split(b" ")[1].decode(), reader, writer):
                    break
        self._tasks.discard(task)
        self._streams.discard(writer)
        writer.transport.abort() if task.cancelling() else writer.close()

    async def _answer(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Returns whether the connection stays."""
        self.asked.append(target.removeprefix(f"/v{self.version}"))
        url = urlsplit(target)
        filters = json.loads(parse_qs(url.query).get("filters", ["{}"])[0])
        last = url.path.rpartition("/")[2]
        if last in self.answers:
            await self.answers[last](writer)
            return False
        if url.path == "/_ping":
            writer.write(http(b"OK", "200 OK", f"Api-Version: {self.version}"))
        elif url.path == f"/v{self.version}/events":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            self._streams.add(writer)
            await reader.read()
            return False
        elif url.path == f"/v{self.version}/containers/json":
            writer.write(http(json.dumps(self._listed(filters)).encode()))
        else:
            writer.write(http(b'{"message":"client version is not supported"}', "400 Bad Request"))
        return True

    def _listed(self, filters: Mapping[str, Sequence[str]]) -> list[Entry]:
        return [
            each
            for each in self.containers.values()
            if all(_has(each["Labels"] or {}, label) for label in filters.get("label", ()))
            and any(each["Id"].startswith(id_) for id_ in filters.get("id", [each["Id"]]))
        ]


def _has(labels: Mapping[str, str], wanted: str) -> bool:
    name, is_value_wanted, value = wanted.partition("=")
    return name in labels and (not is_value_wanted or labels[name] == value)


@contextlib.asynccontextmanager
async def running_daemon(path: Path, *entries: Entry) -> AsyncIterator[Daemon]:
    daemon = Daemon(path)
    daemon.put(*entries)
    await daemon.start()
    try:
        yield daemon
    finally:
        await daemon.stop()
