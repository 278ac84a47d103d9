"""`redirect check`: validates the TOML and prints routes and shares."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import Iterable

import click

from redirect.commands.admin import ask
from redirect.commands.live import Live, described, find, print_found
from redirect.commands.loading import called, content_of, leave, print_warnings, read_settings, setting
from redirect.commands.logs.text import Table
from redirect.config.loader import ConfigError, parse_config
from redirect.core.difference import changes, listed
from redirect.core.discovery import Discover, Found
from redirect.core.keys import given
from redirect.core.pools import Config, Fault, Pool
from redirect.core.routes import FORWARD_KEYS, Caching, RequestLimit, Response, Route, Timeouts
from redirect.core.wording import shown


@click.command()
@click.argument("file", required=False, type=click.Path(readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--live", is_flag=True, help="Ask DNS and Docker once for the origins of pools that discover.")
@click.option(
    "--diff", metavar="[FILE]", is_flag=False, flag_value="", help="Print what it changes of FILE, or in force."
)
@setting("pools_config_path")
@setting("admin_bind")
def check(
    file: str | None, as_json: bool, live: bool, diff: str | None, pools_config_path: str | None, admin_bind: str | None
) -> None:
    """Validate the TOML and print its routes, and its pools with their shares.

    FILE may be - for standard input, that of --diff, too; --config FILE is the same. With --diff, print what changes
    where it takes the place of another TOML, or of what the running service uses, which its admin listener tells.
    """
    if None not in (file, pools_config_path):
        leave(2, f"{file} and --config {pools_config_path} are two files: name one")
    path = pools_config_path if file is None else file
    settings = read_settings("pools_config_path", *["docker_host"] * live, pools_config_path=path)
    path = str(settings.pools_config_path)
    name = called(path)
    if diff == path:
        leave(2, f"{name} is compared with itself: name another file with --diff")
    try:
        content = content_of(path)
        config = parse_config(content, name, is_served=True)
    except ConfigError as error:
        if not as_json:
            leave(1, str(error))
        click.echo(json.dumps({"file": path, "faults": _rows(error.faults)}, indent=2))
        sys.exit(1)
    if diff is not None:
        lines = _changes(diff, config) if diff else _changes_in_force(admin_bind, content)
        changed = {"file": path, "changes": lines}
        click.echo(json.dumps(changed, indent=2) if as_json else "\n".join(lines or ["no change"]))
        return
    found = asyncio.run(find(config, settings.docker_host)) if live else {}
    if as_json:
        click.echo(json.dumps(_described(path, config, found), indent=2))
    else:
        print_warnings(config)
        print_routes(config.routes)
        use_of = uses(config)
        for pool in config.pools.values():
            print_pool(pool, use_of[pool.name], found.get(pool.name))
    if any(isinstance(each, str) for each in found.values()):
        sys.exit(1)


def _changes(before: str, config: Config) -> list[str]:
    """What `config` changes where it takes the place of the file `before`."""
    try:
        return listed(changes(parse_config(content_of(before), called(before)), config))
    except ConfigError as error:
        leave(1, str(error))


def _changes_in_force(admin_bind: str | None, content: bytes) -> list[str]:
    said = ask(admin_bind, "POST", "/compare", content, key="changes", otherwise=", or a file with --diff FILE")
    return [str(line) for line in said["changes"]]


def print_routes(routes: Iterable[Route]) -> None:
    """Prints a line for each route, the most specific of a host first: conditions, action, and what is not as usual."""
    lines = [(route.name, route.does, _options(route)) for route in sorted(routes, key=lambda route: route.rank)]
    for line in Table().lines(lines):
        click.echo(line)


def _options(route: Route) -> str:
    if route.respond:
        return body_of(route.respond)
    return _listed({name: value for name, value in given(route).items() if name in FORWARD_KEYS})


def _listed(keys: dict[str, object]) -> str:
    return ", ".join(f"{name} = {_in_toml(value)}" for name, value in keys.items())


def body_of(response: Response) -> str:
    size = len(response.body.encode())
    return f"{response.content_type}, {size} bytes" if size else ""


def _in_toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Caching | Timeouts):
        return f"{{ {', '.join(f'{name} = {part:g}' for name, part in given(value).items())} }}"
    if isinstance(value, RequestLimit):
        queue = f", queue = {value.queue}, wait = {value.wait:g}"
        return f"{{ in_flight = {value.in_flight}{queue} }}" if value.queue else str(value.in_flight)
    return shown(value)


def uses(config: Config) -> dict[str, list[str]]:
    """Of each pool the status of its redirects, and whether requests are forwarded to it and it is the default one."""
    forwarded, only_forwarded = config.forwarded(), config.only_forwarded()
    return {
        name: [str(pool.status)] * (name not in only_forwarded)
        + ["forwarded"] * (name in forwarded)
        + ["default"] * (pool is config.default)
        for name, pool in config.pools.items()
    }


def print_pool(pool: Pool, used: Iterable[str], found: Found | str | None = None) -> None:
    """Prints name, status and use, and a line for each origin with its weight and share, or how they are found."""
    click.echo("  ".join([pool.name, *used]))
    if pool.discover is not None:
        click.echo(f"  {described_discover(pool.discover)}")
        if found is not None:
            print_found(pool.discover, found)
        return
    width = max(len(origin.name) for origin in pool.origins)
    for origin, share in pool.shares():
        click.echo(f"  {origin.name:<{width}}  weight {origin.weight:>7}  {share:7.2%}  {origin.path_prefix}".rstrip())


def described_discover(discover: Discover) -> str:
    return f"found by {discover.source}: {_listed(given(discover))}"


def _rows(faults: tuple[Fault, ...]) -> list[dict[str, object]]:
    return [{name: getattr(fault, name) for name in ("line", "column", "key", "message")} for fault in faults]


def _described_route(route: Route) -> dict[str, object]:
    described = dataclasses.asdict(route)
    if route.limit is not None:
        del described["limit"]["index"]  # is of a running instance
    return {"name": route.name, **described}


def _described(path: str, config: Config, found: Live) -> dict[str, object]:
    return {
        "file": path,
        "hash": config.hash,
        "routes": [_described_route(route) for route in sorted(config.routes, key=lambda route: route.rank)],
        "pools": [
            {
                "name": pool.name,
                "status": pool.status,
                "is_default": pool is config.default,
                "origins": [
                    {
                        "name": origin.name,
                        "weight": origin.weight,
                        "share": share,
                        **({"path_prefix": origin.path_prefix} if origin.path_prefix else {}),
                    }
                    for origin, share in pool.shares()
                ],
                **({"discover": dataclasses.asdict(pool.discover)} if pool.discover else {}),
                **({"found": described(found[pool.name])} if pool.name in found else {}),
            }
            for pool in config.pools.values()
        ],
        "warnings": _rows(config.warnings),
    }
