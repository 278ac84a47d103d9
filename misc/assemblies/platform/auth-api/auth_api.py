"""Gives tokens: POST /token with a user's name and password.

The rule: a token says who the user is, and until when; a service with the secret can check it without asking.
"""

import hmac
import os
import time
from typing import NamedTuple

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SECRET = os.environ["JWT_SECRET"]
SECONDS_VALID = 3600


class User(NamedTuple):
    user_id: int
    username: str
    password: str
    enabled: bool


# A demo has its users here. A real service keeps hashes, in a database.
USERS = {user.username: user for user in (User(1, "alice", "wonderland", True), User(2, "bob", "builder", False))}


def make_token(user: User, seconds_valid: int = SECONDS_VALID) -> str:
    claims = {
        "user_id": user.user_id,
        "username": user.username,
        "enabled": user.enabled,
        "exp": int(time.time()) + seconds_valid,
    }
    token: str = jwt.encode(claims, SECRET, algorithm="HS256")
    return token


def user_of(username: str, password: str) -> User | None:
    user = USERS.get(username)
    if user and hmac.compare_digest(user.password.encode(), password.encode()):
        return user
    return None


async def token(request: Request) -> Response:
    try:
        asked = await request.json()
        username, password = asked["username"], asked["password"]
    except (ValueError, TypeError, KeyError):
        return JSONResponse({"error": "send a JSON object with username and password"}, 400)
    user = user_of(str(username), str(password))
    if user is None:
        return JSONResponse({"error": "no user has this name and password"}, 401)
    return JSONResponse({"token": make_token(user)})


async def health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


app = Starlette(routes=[Route("/token", token, methods=["POST"]), Route("/health", health)])
