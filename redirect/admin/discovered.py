"""Pools that discover, in JSON: what they ask for, what was found, and which containers are no origins, and why."""

from collections.abc import Mapping
from typing import Any

from redirect.control.instance import Instance
from redirect.core.discovery import Found, Member
from redirect.core.keys import given
from redirect.core.pools import Pool
from redirect.telemetry.log_writer import rfc3339

# Of an id, as `docker ps` shows it.
SHOWN_ID_DIGITS = 12

# Of an id that is asked for, at least. Docker takes fewer; but a few digits are a word, too, or another container's.
LEAST_ID_DIGITS = 6


def of_pool(instance: Instance, pool: Pool, asked: str) -> dict[str, Any]:
    """What `/status` says of the pool beside its origins; with `asked`, of the one with that name or id only."""
    if pool.discover is None:
        return {}
    trouble = instance.discovery.trouble(pool.name)
    return {
        "discover": given(pool.discover),
        "none_found": pool.none_found,
        "trouble": None if trouble is None else {"since": rfc3339(trouble.since), "reason": trouble.reason},
        "left_out": {
            each.name: {
                "id": each.id[:SHOWN_ID_DIGITS],
                "state": each.state,
                "health": each.health,
                "reason": each.reason,
            }
            for each in found(instance, pool).left_out
            if not asked or _is(asked, each.name, each.id)
        },
    }


def of_origins(instance: Instance, pool: Pool) -> Mapping[str, dict[str, Any]]:
    """What it says of each of them."""
    if pool.discover is None:
        return {}
    known = members(instance, pool)
    return {each.name: {"address": str(each.authority), **_container(known.get(each.name))} for each in pool.origins}


def _container(member: Member | None) -> dict[str, str | None]:
    """Nulls where DNS found the origin, or a controller before this one did."""
    if member is None or member.id is None:
        return {"id": None, "docker_state": None, "docker_health": None}
    return {
        "id": member.id[:SHOWN_ID_DIGITS],
        "docker_state": member.docker_state,
        "docker_health": member.docker_health,
    }


def names(instance: Instance, pool: Pool) -> dict[str, str | None]:
    """Of origins, and of containers that are left out; each with the id of its container, if it has one."""
    ids: dict[str, str | None] = {origin.name: None for origin in pool.origins}
    last = found(instance, pool)
    return ids | {each.name: each.id for each in last.members} | {each.name: each.id for each in last.left_out}


def named(instance: Instance, pool: Pool, asked: str) -> set[str]:
    """The names of those that are asked for."""
    return {name for name, container in names(instance, pool).items() if _is(asked, name, container)}


def members(instance: Instance, pool: Pool) -> dict[str, Member]:
    """By name, those that were found last."""
    return {each.name: each for each in found(instance, pool).members}


def found(instance: Instance, pool: Pool) -> Found:
    return (pool.discover and instance.discovery.found(pool.name)) or Found()


def _is(asked: str, name: str, container: str | None) -> bool:
    """A container has its name, and its id, whole or the first digits of it."""
    return asked == name or (container is not None and len(asked) >= LEAST_ID_DIGITS and container.startswith(asked))
