"""Checks the array of the routes, and names its faults.

The rule: what one route says is checked here, also where one of its keys has a fault of its own. Whether its pools are
there is known once all of the file is read: `loader` asks for that.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from redirect.config.positions import Path
from redirect.config.schema import ROUTE_KEYS, Finding, finding, key, model
from redirect.core.limits import MAX_LIMITS
from redirect.core.routes import ACTIONS, CONDITIONS, FORWARD_KEYS, Place, Route
from redirect.core.wording import shown

_ROUTE_RULE = "a route must be a table that begins with a line like [[routes]]"
_TABLE = model(ROUTE_KEYS)
_CONDITIONS_TABLE = model({name: ROUTE_KEYS[name] for name in CONDITIONS})
_BODILESS = (204, 205, 304)
_CAN_LIMIT = hasattr(os, "eventfd") and os.path.exists("/proc/self/fdinfo")
_NOT_OF = {
    "redirect_to": "redirects keep the target, and ask no origin",
    "respond": "a response of ours asks no origin",
    "show": "what the admin listener shows comes from no origin",
}


def check(tables: list[Any]) -> tuple[list[Route], list[Finding]]:
    """The routes that a document has, and all their faults; the routes are good only if there are none."""
    routes: list[Route] = []
    faults: list[Finding] = []
    for index, table in enumerate(tables):
        path = ("routes", index)
        if not isinstance(table, dict):
            faults.append(Finding(path, f"{_ROUTE_RULE}, got {shown(table)}"))
            continue
        try:
            routes.append(Route(**vars(_TABLE.model_validate(table))))
        except ValidationError as error:
            faults += (finding(path, each, ROUTE_KEYS) for each in error.errors(include_url=False))
        faults += (Finding((*path, *at), message, is_at_key=True) for at, message in _misfits(table))
    return routes, [*faults, *_limits_too_many(tables), *_doubles(tables)]


def logs(tables: list[Any]) -> Iterator[tuple[int, str]]:
    """The error logs, each with the index of its route."""
    for index, table in enumerate(tables):
        if isinstance(table, dict) and isinstance(log := table.get("error_log"), str):
            yield index, log


def unusable(logs: Iterable[tuple[int, str]]) -> Iterator[Finding]:
    """Those that cannot be opened here."""
    for index, log in logs:
        if reason := _not_opened(log):
            yield Finding(("routes", index, "error_log"), f"error_log cannot be opened: {reason}")


def leads(tables: list[Any]) -> Iterator[tuple[Path, str]]:
    for index, table in enumerate(tables):
        for name in ("forward_to", "redirect_to") if isinstance(table, dict) else ():
            if isinstance(pool := table.get(name), str):
                yield ("routes", index, name), pool


def _misfits(table: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Keys that do not go together."""
    actions = [name for name in table if name in ACTIONS]
    if not actions:
        yield (), f"a route needs one action: {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}"
    if len(actions) > 1:
        yield (actions[1],), f"a route has one action, got {' and '.join(actions)}"
    if "path" in table and "path_prefix" in table:
        yield ("path_prefix",), "a route has path or path_prefix, not both"
    respond = table.get("respond")
    if isinstance(respond, dict) and respond.get("status") in _BODILESS and respond.get("body"):
        yield ("respond", "body"), f"a response of status {respond['status']} has no body"
    if actions and "forward_to" not in actions:
        why = f"belongs to forward_to: {_NOT_OF[actions[0]]}"
        yield from (((name,), why) for name in FORWARD_KEYS if name in table)
        return
    if table.get("strip_prefix") is True and "path_prefix" not in table:
        yield ("strip_prefix",), "cuts what path_prefix matched, and there is no path_prefix"
    if isinstance(limit := table.get("limit"), dict) and "wait" in limit and not limit.get("queue"):
        yield ("limit", "wait"), "is how long requests wait in the queue, and there is none; add queue"
    if "limit" in table and not _CAN_LIMIT:
        yield ("limit",), "counts requests of all workers by what Linux alone has; leave it out"
    if "target" in table and "path" not in table:
        yield ("target",), "takes the place of path, and there is no path; strip_prefix = true cuts a path_prefix"


def _not_opened(target: str) -> str | None:
    """Why a log at that path cannot be opened, as far as a look tells."""
    if target in ("", "-") or "\0" in target:
        return None
    directory = os.path.dirname(target) or "."
    if os.path.isdir(target):
        return f"{shown(target)} is a directory; name a file in it"
    if not os.path.exists(target) and not os.path.isdir(directory):
        return f"there is no directory {shown(directory)}; make it, or name another"
    written, mode = (target, os.W_OK) if os.path.exists(target) else (directory, os.W_OK | os.X_OK)
    return None if os.access(written, mode) else f"{shown(written)} is not writable; allow it, or name another"


def _limits_too_many(tables: list[Any]) -> Iterator[Finding]:
    limited = [index for index, table in enumerate(tables) if isinstance(table, dict) and "limit" in table]
    for index in limited[MAX_LIMITS:]:
        message = f"{MAX_LIMITS} routes before this one have a limit, and no more can have one"
        yield Finding(("routes", index, "limit"), message, is_at_key=True)


def _doubles(tables: list[Any]) -> Iterator[Finding]:
    """Routes of which neither is more specific."""
    seen: dict[tuple[Place, str | None], int] = {}
    for index, table in enumerate(tables):
        same: dict[int, list[str]] = {}
        for condition in _conditions(table):
            if (first := seen.setdefault(condition, index)) != index:
                same.setdefault(first, []).append(condition[1] or "")
        for first, methods in same.items():
            what = f"the same {' and '.join(methods)} requests" if any(methods) else "the same requests"
            where = f"{key(('routes', first))} in line {{line}}"
            message = f"takes {what} as {where}, and neither is more specific; change host, path or methods of one"
            yield Finding(("routes", index), message, is_at_key=True, other=("routes", first))


def _conditions(table: Any) -> Iterator[tuple[Place, str | None]]:
    """Those of a route whose other keys may have faults."""
    given = {name: table[name] for name in CONDITIONS if name in table} if isinstance(table, dict) else None
    try:
        yield from Route(**vars(_CONDITIONS_TABLE.model_validate(given))).conditions()
    except ValidationError:
        return
