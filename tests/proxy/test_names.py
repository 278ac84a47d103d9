"""Names of origins are looked up; the name server is a function of the test, called in a thread as the real one is."""

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from threading import Event

import pytest
from support.coroutines import until

from redirect.proxy import names
from redirect.proxy.names import Addresses, Name

FOUND: Addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class NameServer:
    """Says nothing of `silent` until `speak` is set, and that there is no `nowhere`. `asked` are the names so far."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.speak = Event()

    def getaddrinfo(self, host: bytes, port: int, *, type: int) -> Addresses:  # noqa: A002  as it is called
        self.asked.append(host.decode())
        if host.startswith(b"silent"):
            assert self.speak.wait(10)
        if host == b"nowhere":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return FOUND


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.getaddrinfo)
    yield server
    server.speak.set()


def waiting(name: Name, count: int) -> list[asyncio.Task[Addresses]]:
    return [asyncio.create_task(name.addresses()) for _ in range(count)]


async def test_a_silent_name_server_holds_up_no_other_name(server: NameServer) -> None:
    """However many names it is asked for, and how often."""
    held_up = [task for number in range(20) for task in waiting(Name(f"silent-{number}", 80), 20)]
    assert await asyncio.wait_for(Name("there", 80).addresses(), 5) == FOUND
    assert not any(task.done() for task in held_up)
    server.speak.set()
    assert await asyncio.gather(*held_up) == [FOUND] * len(held_up)
    assert len(server.asked) == 21


async def test_a_name_is_looked_up_for_each_connection_but_for_those_that_are_made_at_once(server: NameServer) -> None:
    name = Name("there", 80)
    await asyncio.gather(*waiting(name, 5))
    await name.addresses()
    assert server.asked == ["there", "there"]


async def test_what_comes_late_does_not_wait_for_a_lookup_that_gets_no_answer(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MAX_SHARED_SECONDS", 0.0)
    name = Name("silent", 80)
    first = waiting(name, 1)
    await until(lambda: len(server.asked) == 1)
    second = waiting(name, 1)
    await until(lambda: len(server.asked) == 2)
    server.speak.set()
    assert await asyncio.gather(*first, *second) == [FOUND, FOUND]


async def test_a_request_that_gives_up_ends_no_lookup(server: NameServer) -> None:
    name = Name("silent", 80)
    (impatient,) = waiting(name, 1)
    patient = waiting(name, 1)
    await until(lambda: len(server.asked) == 1)
    impatient.cancel()
    server.speak.set()
    assert await asyncio.gather(*patient) == [FOUND]


async def test_all_requests_that_wait_get_the_error(server: NameServer) -> None:
    found = await asyncio.gather(*waiting(Name("nowhere", 80), 3), return_exceptions=True)
    assert [type(each) for each in found] == [socket.gaierror] * 3
    assert server.asked == ["nowhere"]


async def test_an_error_for_which_nothing_waits_any_more_is_no_complaint_of_the_event_loop(server: NameServer) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    (impatient,) = waiting(Name("nowhere", 80), 1)
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    del impatient  # and what it holds
    await until(lambda: all(thread.name != "lookup" for thread in threading.enumerate()))
    await asyncio.sleep(0)
    gc.collect()
    assert (complaints, server.asked) == ([], ["nowhere"])
