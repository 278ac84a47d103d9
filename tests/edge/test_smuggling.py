"""Request smuggling: however another party may read the bytes of a request, we answer one request or refuse it.

Each row hides a second request, for /smuggled, from one of two parties. It is neither answered nor logged.
"""

from random import Random

import pytest
from support.corpus import ANSWERED_LAST, READ_AS_BODY, REFUSED, UNFINISHED
from support.wire import NEXT, Outcome, Wire, head

from redirect.edge.limits import MAX_BODY_BYTES

SEED = 20261121
ROUNDS = 150

# What a request that is no request may be answered with.
REFUSALS = {400, 414, 431, 505}


def is_unanswered(outcome: Outcome) -> bool:
    """Whether no answer and no record is about /smuggled."""
    return "smuggled" not in repr((outcome.answers, [record["path"] for record in outcome.records]))


def cuts(sent: bytes) -> list[list[bytes]]:
    """The bytes as a network may deliver them: whole, and byte by byte, or in halves if they are many."""
    size = 1 if len(sent) < 400 else len(sent) // 2 + 1
    return [[sent], [sent[at : at + size] for at in range(0, len(sent), size)]]


@pytest.mark.slow
@pytest.mark.parametrize("sent", READ_AS_BODY.values(), ids=READ_AS_BODY)
def test_a_request_in_a_body_is_a_body(sent: bytes, wire: Wire) -> None:
    """The request around it is answered, once, and then the one behind it."""
    for pieces in cuts(sent + NEXT):
        outcome = wire.exchange(pieces)
        assert [answer.location for answer in outcome.answers][1:] == ["http://origin-1/next"], pieces
        assert len(outcome.records) == 2
        assert not outcome.ended
        assert is_unanswered(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(sent: bytes, wire: Wire) -> None:
    """It is answered with one refusal that says that the connection ends, and it ends."""
    for pieces in cuts(sent + NEXT):
        outcome = wire.exchange(pieces)
        (answer,) = outcome.answers
        assert answer.status in REFUSALS, pieces
        assert answer.headers["connection"] == "close"
        assert outcome.ended
        assert [record["status"] for record in outcome.records] == [answer.status]
        assert is_unanswered(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("sent", ANSWERED_LAST.values(), ids=ANSWERED_LAST)
def test_nothing_is_read_behind_the_last_answer(sent: bytes, wire: Wire) -> None:
    """Where the connection ends with an answer, what is behind its request is not read as another one."""
    for pieces in cuts(sent + NEXT):
        outcome = wire.exchange(pieces)
        (answer,) = outcome.answers
        assert (answer.status, answer.headers["connection"]) == (302, "close")
        assert outcome.ended
        assert len(outcome.records) == 1
        assert is_unanswered(outcome)


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
def test_what_has_not_ended_is_not_answered(sent: bytes, wire: Wire) -> None:
    """A request that has begun is waited for; what came of it so far is no answer's worth."""
    for pieces in cuts(sent):
        assert wire.exchange(pieces) == Outcome([], False, [])


@pytest.mark.slow
def test_pipelined_requests_are_answered_up_to_the_first_that_ends_the_connection(wire: Wire) -> None:
    random = Random(SEED)
    for _ in range(ROUNDS):
        names = random.sample([*READ_AS_BODY], 8) + random.sample([*REFUSED], 2) + random.sample([*ANSWERED_LAST], 1)
        random.shuffle(names)
        answered = 1 + next(n for n, name in enumerate(names) if name not in READ_AS_BODY)
        sent = [(READ_AS_BODY | REFUSED | ANSWERED_LAST)[name] for name in names]
        whole = b"".join(sent)
        cut = random.randrange(len(whole))
        for pieces in ([whole], sent, [whole[:cut], whole[cut:]]):
            outcome = wire.exchange([NEXT, NEXT, *pieces])
            assert len(outcome.answers) == len(outcome.records) == 2 + answered, names
            assert outcome.ended
            assert is_unanswered(outcome), names


@pytest.mark.slow
@pytest.mark.parametrize("sent", READ_AS_BODY.values(), ids=READ_AS_BODY)
def test_a_body_that_looks_like_a_known_head_is_a_body(sent: bytes, wire: Wire) -> None:
    smuggled = sent.index(b"GET /smuggled")
    usual = head("GET /usual HTTP/1.1")
    outcome = wire.exchange([usual, usual, sent[:smuggled], sent[smuggled:], usual])
    assert len(outcome.answers) == 4
    assert outcome.answers[-1].location == "http://origin-1/usual"
    assert is_unanswered(outcome)


@pytest.mark.parametrize("more", [1, 2, 1000])
def test_a_body_over_the_limit_is_no_request(more: int, wire: Wire) -> None:
    """Nor is what lies behind the limit of a body that was not read to its end."""
    for framing, begin in (
        (f"Content-Length: {MAX_BODY_BYTES + more}", b""),
        ("Transfer-Encoding: chunked", b"%x\r\n" % (MAX_BODY_BYTES + more)),
    ):
        sent = head("POST / HTTP/1.1", framing) + begin + b"b" * MAX_BODY_BYTES + head("GET /smuggled HTTP/1.1")
        outcome = wire.exchange([sent, NEXT])
        assert [answer.headers["connection"] for answer in outcome.answers] == ["close"]
        assert outcome.ended
        assert is_unanswered(outcome)
