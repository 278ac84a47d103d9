"""`redirect check --live`: asks DNS and Docker once, and says which origins would be found."""

import click

from redirect.commands.logs.text import Table
from redirect.control.dns_provider import DnsProvider
from redirect.core.discovery import Discover, Found, Member
from redirect.core.pools import Config

# By pool, what was found, or why it cannot be asked for.
Live = dict[str, Found | str]


async def find(config: Config, docker_host: str) -> Live:
    wanted: dict[str, dict[str, Discover]] = {"DNS": {}, "Docker": {}}
    for pool in config.pools.values():
        if pool.discover is not None:
            wanted[pool.discover.source][pool.name] = pool.discover
    return await _by_dns(wanted["DNS"]) | await _by_docker(wanted["Docker"], docker_host)


async def _by_dns(wanted: dict[str, Discover]) -> Live:
    provider = DnsProvider(lambda: None)
    provider.use(wanted)
    await provider.look()
    troubles = {pool: trouble.reason for pool in wanted if (trouble := provider.trouble_of(pool))}
    return {**provider.found, **troubles}


async def _by_docker(wanted: dict[str, Discover], docker_host: str) -> Live:
    if not wanted:
        return {}
    from redirect.control.docker import ask_once, own_container_id  # httpx takes a while
    from redirect.control.docker_api import DockerError

    try:
        return {**await ask_once(docker_host, own_container_id(), wanted)}
    except DockerError as error:
        return dict.fromkeys(wanted, str(error))


def print_found(discover: Discover, found: Found | str) -> None:
    if isinstance(found, str):
        click.echo(f"  {discover.source} cannot be asked: {found}")
        return
    lines = [(each.name, *_said(each)) for each in found.members]
    lines += [(each.name, "left out", f"{each.state}: {each.reason}") for each in found.left_out]
    if found.none_reason is not None:
        click.echo(f"  {found.none_reason}")
    for line in Table().lines(lines):
        click.echo(f"  {line}")


def _said(member: Member) -> tuple[str, str]:
    state = member.state if member.reason is None else f"{member.state}: {member.reason}"
    return str(member.authority), f"weight {member.weight}  {state}"


def described(found: Found | str) -> dict[str, object]:
    """For machines."""
    if isinstance(found, str):
        return {"trouble": found}
    return {
        "trouble": None,
        "none_found": found.none_reason,
        "origins": [each._asdict() | {"authority": str(each.authority)} for each in found.members],
        "left_out": [each._asdict() for each in found.left_out],
    }
