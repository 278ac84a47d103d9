"""Request smuggling through nginx and a forward: three readers in a row.

nginx passes bodies on, in frames of its own, and so do we. The rule: what reaches an origin is what the access log says
was forwarded, as often as it says; a request that is hidden in another one's body reaches none; and no client gets an
answer to another one's request.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

from support.compose import until
from support.corpus import ANSWERED_LAST, READ_AS_BODY, REFUSED

from .gateway import GatewayStack
from .sending import CONNECTIONS, CORPUS, Sending, sent_to

SEED = 20261126
ROUNDS = 100


def marked(targets: Iterable[str], sendings: Sequence[Sending]) -> Counter[str]:
    """Those that were sent, without their queries."""
    marks = {sending.mark for sending in sendings}
    found = [match[0] for target in targets if (match := re.match("/[scn](.....)-..", target)) and match[1] in marks]
    return Counter(found)


def asked(gateway: GatewayStack) -> list[str]:
    """The targets of all requests that have reached an origin."""
    return [line.split(" ")[1] for lines in gateway.asked().values() for line in lines]


def logged(gateway: GatewayStack, *, answered: bool) -> list[str]:
    """The paths of all requests that the replicas have sent to an origin, or that it has answered."""
    lines = [line for replica in gateway.containers("redirect") for line in gateway.log_lines(replica)]
    records = [record for record in map(json.loads, lines) if record.get("tries")]
    return [record["path"] for record in records if not answered or record["origin_status"] is not None]


def check(gateway: GatewayStack, sendings: Sequence[Sending]) -> None:
    with ThreadPoolExecutor(4 * CONNECTIONS) as executor:  # most of them wait, for a body that never comes
        seen = list(executor.map(lambda sending: sent_to(gateway.port, sending.sent), sendings))
    reached = marked(asked(gateway), sendings)
    sent = until(
        lambda: marked(logged(gateway, answered=False), sendings), lambda found: reached <= found, "what was sent"
    )
    assert reached >= marked(logged(gateway, answered=True), sendings)
    assert max(sent.values()) == 1, "asked twice"
    assert len(reached) > len(sendings) / 4
    for sending, found in zip(sendings, seen, strict=True):
        answers = {mark.decode() for mark in re.findall(rb" /[scn](.....)-", found.received)}
        assert answers <= {sending.mark}, "somebody else's"
        assert sending.hidden(sending.own([*reached])) == []


def test_every_row_of_the_corpus(gateway: GatewayStack) -> None:
    check(gateway, [Sending.of([name], CORPUS) for name in CORPUS])


def test_behind_each_other(gateway: GatewayStack) -> None:
    random = Random(SEED)
    bodies, others = [*READ_AS_BODY], [*REFUSED, *ANSWERED_LAST]
    check(gateway, [Sending.of([*random.sample(bodies, 4), *random.sample(others, 3)], CORPUS) for _ in range(ROUNDS)])
