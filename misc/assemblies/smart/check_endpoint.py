"""Tests of a smart proxy that runs somewhere, with the standard library alone:

    TEST_URL=http://localhost:8000/api/smart python3 -m unittest -v check_endpoint

Whatever the remote service is, it should be well, and answer within the timeout.
"""

import os
import unittest
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

URL = urlsplit(os.environ["TEST_URL"])
AT_ONCE = 20


def ask(method: str = "GET", path: str = URL.path) -> tuple[int, str | None, str | None]:
    """Status, Allow and Retry-After of the answer, on a connection of its own."""
    connection = (HTTPSConnection if URL.scheme == "https" else HTTPConnection)(URL.netloc, timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers["allow"], response.headers["retry-after"]
    finally:
        connection.close()


class Endpoint(unittest.TestCase):
    def test_the_remote_service_answers(self) -> None:
        assert ask()[0] == 200

    def test_it_is_asked_with_get_only(self) -> None:
        assert ask("POST")[:2] == (405, "GET, HEAD")

    def test_it_is_the_only_endpoint(self) -> None:
        assert ask(path=f"{URL.path}er")[0] == 404

    def test_requests_at_once_are_answered_or_refused_by_the_limit(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as executor:
            answers = {*executor.map(lambda _: ask(), range(AT_ONCE))}
        assert (200, None, None) in answers
        assert answers <= {(200, None, None), (503, None, "1")}
