"""Takes transactions: POST /transaction with amount, currency and a token that auth-api gave.

The rule: it answers when the transaction is in the queue, and psp-connector makes it. It knows that service by the name
of its function only.
"""

import os
import re
from typing import Any

import jwt
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SECRET = os.environ["JWT_SECRET"]
SECONDS_RESULT_IS_KEPT = 500
RETRY_AFTER = 5  # seconds

queue = Queue(
    "transactions",
    # Tried once more, at once, as a connection that rested may be gone. Clients wait meanwhile.
    connection=Redis("redis", socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1)),
    serializer=JSONSerializer,  # what it reads cannot run code, as a pickle can
)


class RefusedError(Exception):
    """The request is refused; `status` says whose fault it is."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def user_of(token: str) -> int:
    """The user whom a valid token names. The algorithm is ours to say: a token that says none would be valid."""
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"require": ["exp", "user_id"]})
    except jwt.InvalidTokenError as error:
        raise RefusedError(401, f"the token is not valid: {error}") from None
    if claims.get("enabled") is not True:
        raise RefusedError(403, "the user is not enabled")
    return int(claims["user_id"])


def money(amount: object, currency: object) -> tuple[int, str]:
    """A whole amount, which clients send as a number or as a string, and a currency."""
    if not isinstance(amount, int | str) or not re.fullmatch("[0-9]{1,12}", str(amount)):
        raise RefusedError(400, "amount must be a whole number")
    if not re.fullmatch("[A-Z]{3}", str(currency)):
        raise RefusedError(400, "currency must be three capital letters")
    return int(amount), str(currency)


async def accept(asked: Any) -> dict[str, Any]:
    try:
        token, amount, currency = asked["token"], asked["amount"], asked["currency"]
    except (TypeError, KeyError):
        raise RefusedError(400, "send a JSON object with amount, currency and token") from None
    user_id = user_of(str(token))
    amount, currency = money(amount, currency)
    transaction = {"amount": amount, "currency": currency, "user_id": user_id}
    try:
        await run_in_threadpool(
            queue.enqueue, "psp_connector.make_transaction", kwargs=transaction, result_ttl=SECONDS_RESULT_IS_KEPT
        )
    except RedisError as error:
        raise RefusedError(503, f"the queue does not answer: {type(error).__name__}") from None
    return transaction


async def transaction(request: Request) -> Response:
    try:
        return JSONResponse(await accept(await request.json()))
    except RefusedError as refused:
        headers = {"Retry-After": str(RETRY_AFTER)} if refused.status == 503 else None
        return JSONResponse({"error": str(refused)}, refused.status, headers)
    except ValueError:
        return JSONResponse({"error": "send JSON"}, 400)


async def health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


app = Starlette(routes=[Route("/transaction", transaction, methods=["POST"]), Route("/health", health)])
