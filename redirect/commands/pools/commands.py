"""`redirect pools`: its commands and options.

Exit codes: 0 done; 1 the file cannot be read or written, or would have faults, and is as it was; 2 the command is
wrong: it names a pool or an origin that is not there, or adds one that is.
"""

import difflib
import errno
import functools
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from redirect.commands.admin import ask
from redirect.commands.check import print_pool, uses
from redirect.commands.loading import leave, load_or_exit, print_warnings, read_settings, setting
from redirect.commands.pools import edit
from redirect.commands.pools.edit import Edit, EditError, RefusedError, edited
from redirect.commands.pools.ramp import described, ramp
from redirect.commands.pools.replace import BusyError, locked
from redirect.config.loader import ConfigError
from redirect.core.pools import MAX_WEIGHT, Config

# A negative weight is refused as a weight, not as an unknown option.
_NEGATIVE = {"ignore_unknown_options": True}
_WEIGHT = click.IntRange(0, MAX_WEIGHT)
_WEIGHT.name = f"whole number from 0 to {MAX_WEIGHT}"  # in messages

# A file that is mounted by itself, as into a container, cannot be replaced by a rename.
_MOUNTED = "; it is a mount of its own: change it where it is mounted from, or mount its directory"


@click.group()
def pools() -> None:
    """List the pools, and edit the TOML: set weights, add and remove origins.

    The rest of the file stays as it is, comments and layout too, and what `redirect check` would refuse is not
    written. A running service takes the file when it reloads.
    """


@pools.command("list")
@setting("pools_config_path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--live", is_flag=True, help="Those of the running service, with shares that are overridden (see ramp).")
@setting("admin_bind")
def list_pools(pools_config_path: str | None, as_json: bool, live: bool, admin_bind: str | None) -> None:
    """List the pools, with how many origins each has in the file, or in the service, and how many are drained."""
    running = ask(admin_bind, "GET", "/status", key="pools")["pools"] if live else {}
    if live and pools_config_path is None:
        rows = [_of_service(name, pool) for name, pool in running.items()]
    else:
        rows = _of_file(load_or_exit(read_settings("pools_config_path", pools_config_path=pools_config_path)))
    if live:
        rows = [row | {"overrides": running.get(row["name"], {}).get("overrides", [])} for row in rows]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        uses = [use for use in ("default", "forwarded") if row[f"is_{use}"]]
        drained = f", {row['drained']} drained" if row["drained"] else ""
        number = row["origins"]
        count = "origins are found" if number is None else f"{number} origin{'s' * (number != 1)}"
        click.echo("  ".join([f"{row['name']:<{width}}", f"{count}{drained}", *uses]))
        for each in row.get("overrides", []):
            click.echo(f"  override: {described(each)}")


def _of_file(config: Config) -> list[dict[str, Any]]:
    forwarded = config.forwarded()
    return [
        {
            "name": pool.name,
            "is_default": pool is config.default,
            "is_forwarded": pool.name in forwarded,
            "origins": len(pool.origins) if pool.discover is None else None,
            "drained": sum(not origin.weight for origin in pool.origins),
        }
        for pool in config.pools.values()
    ]


def _of_service(name: str, pool: dict[str, Any]) -> dict[str, Any]:
    """What its /status says, with the origins that are found."""
    uses = {use: pool[use] for use in ("is_default", "is_forwarded")}
    weights = [origin["weight"] for origin in pool["origins"].values()]
    return {"name": name, **uses, "origins": len(weights), "drained": weights.count(0)}


pools.add_command(ramp)


def _editing(function: Callable[..., str]) -> click.Command:
    """Makes a command of a function that edits the text of the file."""

    @pools.command(context_settings=_NEGATIVE)
    @click.argument("pool")
    @click.argument("origin")
    @setting("pools_config_path")
    @click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
    @functools.wraps(function)
    def run(pools_config_path: str | None, dry_run: bool, pool: str, origin: str, **options: Any) -> None:
        path = read_settings("pools_config_path", pools_config_path=pools_config_path).pools_config_path
        try:
            by = _tried if dry_run else _changed
            old, new, config = by(path, lambda text: function(text, pool, origin, **options))
        except EditError as error:
            leave(2, f"{path}: {error}")
        except RefusedError as error:
            leave(1, f"{path} is as it was, with the change it would have faults:\n{error}")
        except ConfigError as error:
            leave(1, f"{path} is as it was, it has faults already:\n{error}")
        except BusyError as error:
            leave(1, str(error))
        except OSError as error:
            if error.errno == errno.ENOENT and not path.exists():
                leave(1, f"{path} is not there; name another with --config, or begin one with `redirect init`")
            remedy = _MOUNTED if error.errno == errno.EBUSY else ""
            leave(1, f"{path} is as it was, it cannot be changed: {error.strerror}{remedy}")
        print_warnings(config)  # behind all that: where it cannot be written, the file is changed nevertheless
        if dry_run:
            _print_difference(path, old, new)
            return
        print_pool(config.pools[pool], uses(config)[pool])
        done = "is changed; a running service takes it when it reloads"
        click.echo(f"{path} {done if new != old else 'says so already, nothing is changed'}")

    return run


@_editing
@click.argument("weight", type=_WEIGHT)
def set_weight(text: str, pool: str, origin: str, weight: int) -> str:
    """Set the weight of an origin; 0 drains it."""
    return edit.set_weight(text, pool, origin, weight)


@_editing
def drain(text: str, pool: str, origin: str) -> str:
    """Set the weight of an origin to 0: it stays in the file and gets nothing, unless a ramp says so."""
    return edit.set_weight(text, pool, origin, 0)


@_editing
@click.argument("weight", type=_WEIGHT, default=1)
@click.option("--create", is_flag=True, help="Make the pool if it is not there.")
def add(text: str, pool: str, origin: str, weight: int, create: bool) -> str:
    """Add an origin behind the last one of a pool."""
    return edit.add(text, pool, origin, weight, create)


@_editing
def remove(text: str, pool: str, origin: str) -> str:
    """Remove an origin, with the comment on its line."""
    return edit.remove(text, pool, origin)


def _changed(path: Path, change: Edit) -> tuple[bytes, bytes, Config]:
    with locked(path) as file:
        new, config = edited(file.content, str(path), change)
        if new != file.content:
            file.replace(new)
    return file.content, new, config


def _tried(path: Path, change: Edit) -> tuple[bytes, bytes, Config]:
    """The file needs to be readable only."""
    old = path.read_bytes()
    return old, *edited(old, str(path), change)


def _print_difference(path: Path, old: bytes, new: bytes) -> None:
    for line in difflib.unified_diff(_lines(old), _lines(new), str(path), str(path)):
        whole = line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        click.echo(whole.encode(errors="surrogateescape"), nl=False)  # bytes of the file, for `patch`


def _lines(content: bytes) -> list[str]:
    return io.StringIO(content.decode("utf-8"), newline="\n").readlines()  # only \n ends a line in TOML and `patch`
