"""Origins that come and go, as frozen values: what the `discover` of a pool asks for, and what was found.

The rule: a pool that discovers has the origins that its provider found last. None found is a state, not a fault; and
what was found stays while the provider cannot be asked.
"""

import re
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from redirect.core.authority import Authority
from redirect.core.keys import Limit, distinct, one_of, origin_authority, text, whole

# What Docker has as a label's name; a value may be any text.
_LABEL = re.compile(r"[A-Za-z0-9._/-]+(?:=.*)?")
MAX_LABEL_CHARACTERS = 1024

# What goes with `labels` only.
DOCKER_KEYS = ("network", "health", "project")


def _fault_of_label(label: str) -> str:
    is_good = _LABEL.fullmatch(label) and len(label) <= MAX_LABEL_CHARACTERS
    return "" if is_good else f'"{label[:80]}" is neither name=value nor name'


def _dns_name(value: str) -> str:
    host, port = origin_authority(value)
    if port is not None:
        raise ValueError(f"write port = {port} beside it")
    if host.startswith("[") or host.rpartition(".")[2].isdigit():
        raise ValueError("an address is no name; write it in weighted_hosts")
    return host


_LABELS = Limit(
    'must be an array of labels such as ["app=shop"], as `docker ps --filter label=…` has them',
    convert=distinct(_fault_of_label),
)
_LABELS_HELP = "containers that have all of these labels are the origins: `name=value`, or `name`"
_NAME = Limit("must be a name in DNS such as the service's in compose", convert=_dns_name)
_NETWORK = text("must be the name of a network", 1, 253)
_NETWORK_HELP = "network whose addresses count; needed where a container has several"
_PROJECT = text('must be the name of a project, or ".", the own one,', 1, 253)


@dataclass(frozen=True, slots=True)
class Discover:
    """Either `labels`, of containers that Docker is asked for, or a `name`, of which DNS is asked."""

    name: Annotated[str | None, _NAME, "a name in DNS, whose addresses are the origins"] = None
    labels: Annotated[tuple[str, ...], _LABELS, _LABELS_HELP] = ()
    port: Annotated[int | None, whole(1, 65535), "port of the origins, in the container; needed with `name`"] = None
    network: Annotated[str | None, _NETWORK, _NETWORK_HELP] = None
    health: Annotated[
        str, one_of("docker", "ignore"), 'a container counts once its health check has passed; `"ignore"`: at once'
    ] = "docker"
    project: Annotated[str | None, _PROJECT, 'project of docker compose; `"."` is the own one; all if left out'] = None

    @property
    def source(self) -> str:
        """What is asked."""
        return "Docker" if self.name is None else "DNS"

    def __str__(self) -> str:
        return ", ".join(self.labels) if self.name is None else self.name


class Member(NamedTuple):
    """An origin that was found. `state` is "up", "down" or "draining"; the last two have a reason. What Docker calls a
    container is shown, and changes no configuration."""

    name: str  # of the container, or the address that DNS has
    authority: Authority
    weight: int
    state: str = "up"
    reason: str | None = None
    id: str | None = None  # of the container, whole
    docker_state: str | None = None  # "running", "paused"
    docker_health: str | None = None  # "healthy", "starting", "unhealthy"; None without a health check


class LeftOut(NamedTuple):
    """A container that matches and is no origin, with what to write so that it becomes one."""

    name: str
    id: str  # whole
    state: str  # as docker has it
    reason: str
    health: str | None = None  # as docker has it


class Found(NamedTuple):
    """What is known of a pool that discovers."""

    members: tuple[Member, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    none_reason: str | None = None  # why there is no origin: "no running container with app=shop was found"


class Trouble(NamedTuple):
    """Since when (Unix time, and monotonic seconds) a provider, or a file, cannot be asked, and why."""

    since: float
    reason: str
    since_monotonic: float = 0.0
