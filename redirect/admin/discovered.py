"""Pools that discover, in JSON: what they ask for, what was found, and which containers are no origins, and why."""

from collections.abc import Mapping
from typing import Any

from redirect.control.instance import Instance
from redirect.core.discovery import LeftOut
from redirect.core.keys import given
from redirect.core.pools import Pool
from redirect.telemetry.log_writer import rfc3339


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
            each.name: {"id": each.id, "state": each.state, "reason": each.reason}
            for each in left_out(instance, pool)
            if not asked or _is(asked, each.name, each.id)
        },
    }


def of_origins(instance: Instance, pool: Pool) -> Mapping[str, dict[str, Any]]:
    """What it says of each of them."""
    if pool.discover is None:
        return {}
    ids = names(instance, pool)
    return {each.name: {"address": str(each.authority), "id": ids[each.name]} for each in pool.origins}


def names(instance: Instance, pool: Pool) -> dict[str, str | None]:
    """Of origins, and of containers that are left out; each with the id of its container, if it has one."""
    ids: dict[str, str | None] = {origin.name: None for origin in pool.origins}
    if pool.discover and (found := instance.discovery.found(pool.name)):
        ids |= {each.name: each.id for each in found.members}
        ids |= {each.name: each.id for each in found.left_out}
    return ids


def named(instance: Instance, pool: Pool, asked: str) -> set[str]:
    """The names of those that are asked for."""
    return {name for name, container in names(instance, pool).items() if _is(asked, name, container)}


def left_out(instance: Instance, pool: Pool) -> tuple[LeftOut, ...]:
    found = instance.discovery.found(pool.name) if pool.discover else None
    return found.left_out if found else ()


def _is(asked: str, name: str, container: str | None) -> bool:
    """A container has its name, and its id, as `docker ps` shows it or whole."""
    return asked == name or (container is not None and asked.startswith(container))
