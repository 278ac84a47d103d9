"""Containers as Docker lists them, and what becomes of each in a pool: an origin, or what is left out and why.

The rule: nothing is guessed. A container whose port or network is not clear is left out, with what to write so that it
becomes an origin. Its labels say what it alone knows: its port, its weight and the network that counts; they win over
what the pool says of all. No I/O and no clock: what Docker listed, and who is being stopped, comes in as values.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple, TypeVar

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from redirect.core.authority import Authority, parse
from redirect.core.discovery import Discover, Found, LeftOut, Member
from redirect.core.pools import MAX_WEIGHT

PORT, WEIGHT, NETWORK = KNOWN_LABELS = ("redirect.port", "redirect.weight", "redirect.network")

# Labels that docker compose gives its containers.
PROJECT = "com.docker.compose.project"
ONE_OFF = "com.docker.compose.oneoff"

MAX_PORT = 65535

# Characters of a label's value that a message repeats.
_MAX_SHOWN = 60

_Value = TypeVar("_Value")


def _or_empty(empty: type) -> BeforeValidator:
    """Go writes null for a list or a map that is empty."""
    return BeforeValidator(lambda value: empty() if value is None else value)


class _Listed(BaseModel):
    model_config = ConfigDict(frozen=True)


class Endpoint(_Listed):
    """A container in a network. Each start of it makes another one."""

    id: str = Field("", alias="EndpointID")
    ipv4: str = Field("", alias="IPAddress")
    ipv6: str = Field("", alias="GlobalIPv6Address")

    @property
    def host(self) -> str:
        return self.ipv4 or (f"[{self.ipv6}]" if self.ipv6 else "")


class Port(_Listed):
    private: int = Field(alias="PrivatePort")
    public: int | None = Field(None, alias="PublicPort")
    type: str = Field(alias="Type")


_Name = Annotated[str, Field(pattern=r"^/?[A-Za-z0-9][A-Za-z0-9_./-]*$", max_length=1024)]


class Container(_Listed):
    """An entry of `GET /containers/json`."""

    full_id: str = Field(alias="Id", pattern="^[0-9a-f]{12,64}$")
    names: Annotated[list[_Name], _or_empty(list)] = Field(alias="Names")
    labels: Annotated[dict[str, str], _or_empty(dict)] = Field(alias="Labels")
    state: str = Field(alias="State", max_length=64)
    status: str = Field(alias="Status")
    ports: Annotated[list[Port], _or_empty(list)] = Field(alias="Ports")
    network_mode: str = Field("", validation_alias=AliasPath("HostConfig", "NetworkMode"))
    endpoints: Annotated[dict[str, Endpoint], _or_empty(dict)] = Field(
        {}, validation_alias=AliasPath("NetworkSettings", "Networks")
    )
    # Since API 1.52; `status` has it in words.
    listed_health: str = Field("", validation_alias=AliasPath("Health", "Status"))

    @property
    def id(self) -> str:
        """As `docker ps` shows it."""
        return self.full_id[:12]

    @property
    def name(self) -> str:
        """The one without a second `/`: others are those of links."""
        own = [name.removeprefix("/") for name in self.names]
        return next((name for name in own if "/" not in name), self.id)

    @property
    def shares_with(self) -> str | None:
        """The id of the container whose network it shares."""
        kind, _, other = self.network_mode.partition(":")
        return other if kind == "container" else None

    @property
    def health(self) -> str | None:
        """What its health check found; None if it has none."""
        found = re.search(r"\b(unhealthy|starting|healthy)\b", self.listed_health or self.status)
        return found[1] if found else None

    @property
    def exposed(self) -> list[int]:
        return sorted({port.private for port in self.ports if port.type == "tcp"})


LIST = TypeAdapter(list[Container])


class View(NamedTuple):
    """What a container is judged by, beside itself."""

    own_id: str | None = None  # of the gateway's container; None if it runs in none
    own: Container | None = None
    shared: Mapping[str, Container] = {}  # by id, containers whose network others share
    stopping: Collection[str] = ()  # ids of those that were told to stop


class _LeftOutError(Exception):
    """What is in the way of an origin, and what to write."""


def label_filter(discover: Discover, view: View) -> tuple[str, ...] | None:
    """The labels that Docker is asked for; None where the gateway's own project counts and is not known."""
    if discover.project is None:
        return tuple(sorted(discover.labels))
    project: str | None = discover.project
    if project == ".":
        project = view.own.labels.get(PROJECT) if view.own else None
    return None if project is None else tuple(sorted((*discover.labels, f"{PROJECT}={project}")))


def read(listed: Iterable[Container] | None, discover: Discover, view: View) -> Found:
    """What there is of a pool, of the containers with its labels; None for those of a project that is not known."""
    if listed is None:
        return Found(none_reason=_no_project(view))
    members: dict[Authority, Member] = {}
    left_out = []
    for container in sorted(listed, key=lambda each: each.name):
        if view.own_id is not None and container.full_id.startswith(view.own_id):
            continue
        try:
            member = _member(container, discover, view)
            if other := members.get(member.authority):
                raise _LeftOutError(f"{other.name} has the same address, {member.authority}")
            members[member.authority] = member
        except _LeftOutError as error:
            entry = LeftOut(container.name, container.full_id, container.state, str(error), container.health)
            left_out.append(entry)
    return Found((*members.values(),), (*left_out,), None if members else _none_reason(discover, left_out))


def doubts(container: Container, discover: Discover) -> Iterator[str]:
    """What its labels and ports give reason to warn of, though it may be an origin."""
    for label in sorted(container.labels):
        if label.lower().startswith("redirect.") and label not in KNOWN_LABELS:
            key = label.lower().removeprefix("redirect.")
            near = difflib.get_close_matches(key, ("port", "weight", "network"), n=1)
            hint = f"did you mean redirect.{near[0]}? " if near else ""
            yield f"its label {_shown(label)} means nothing: {hint}There are {', '.join(KNOWN_LABELS)}"
    port = container.labels.get(PORT) or str(discover.port or "")
    for each in container.ports:
        if str(each.public) == port and port not in map(str, container.exposed):
            yield f"{port} is its port on the host; what counts is that in the container, {each.private}"
            return


def _member(container: Container, discover: Discover, view: View) -> Member:
    """Raises what is in the way."""
    state, reason = _state(container, discover, view)
    weight = _number(container, WEIGHT, 0, MAX_WEIGHT)
    authority = _authority(container, discover, view)
    return Member(
        container.name,
        authority,
        1 if weight is None else weight,
        state,
        reason,
        container.full_id,
        container.state,
        container.health,
    )


def _state(container: Container, discover: Discover, view: View) -> tuple[str, str | None]:
    if container.labels.get(ONE_OFF) == "True":
        raise _LeftOutError("`docker compose run` made it, for one command")
    if container.state == "paused":
        return "down", "docker calls it paused"
    if container.state != "running":
        raise _LeftOutError(f"docker calls it {container.state}")
    if container.full_id in view.stopping:
        return "draining", "docker stops it"
    if discover.health != "ignore":
        if container.health == "unhealthy":
            return "down", "docker calls it unhealthy"
        if container.health == "starting":
            return "down", "its health check has not passed yet"
    return "up", None


def _authority(container: Container, discover: Discover, view: View) -> Authority:
    host, port = _host(container, discover, view), _port(container, discover)
    try:
        return parse(f"{host}:{port}")
    except ValueError as error:
        raise _LeftOutError(f"docker names {_shown(host)} as its address: {error}") from None


def _host(container: Container, discover: Discover, view: View) -> str:
    if container.network_mode == "host":
        if not _is_on_host(view):
            raise _LeftOutError(
                "it is in the host's network, and the gateway is not: put both in one network, or the gateway in the "
                'host\'s with network_mode = "host"'
            )
        return "127.0.0.1"
    if (other := container.shares_with) is not None:
        if other not in view.shared:
            raise _LeftOutError(f"it shares the network of the container {other[:12]}, which is not there")
        container = view.shared[other]
    return _endpoint_host(container, container.labels.get(NETWORK, discover.network))


def _endpoint_host(container: Container, network: str | None) -> str:
    hosts = {name: each.host for name, each in sorted(container.endpoints.items()) if each.host}
    if not hosts:
        raise _LeftOutError("it has no address in any network: connect it to one that the gateway is in")
    if network is None and len(hosts) > 1:
        raise _LeftOutError(f"it is in the networks {', '.join(hosts)}: {_name_one('network', next(iter(hosts)))}")
    if network is not None and network not in hosts:
        raise _LeftOutError(_not_in(network, hosts))
    return hosts[network or next(iter(hosts))]


def _not_in(network: str, hosts: Iterable[str]) -> str:
    where = f"it is not in the network {_shown(network)}, but in {', '.join(hosts)}"
    for name in hosts:
        if name.endswith(f"_{network}"):
            return f"{where}: docker compose puts the project's name first, so {_name_one('network', name)}"
    return where


def _port(container: Container, discover: Discover) -> int:
    labelled = _number(container, PORT, 1, MAX_PORT)
    if port := labelled or discover.port:
        return port
    match container.exposed:
        case [port]:
            return port
        case []:
            why = "docker lists no port of it, as it exposes none, or is in an internal network alone"
            raise _LeftOutError(f"{why}: write the port in the container, {_ways('port', 8080)}")
        case ports:
            raise _LeftOutError(f"it exposes the ports {', '.join(map(str, ports))}: {_name_one('port', ports[0])}")


def _name_one(key: str, example: str | int) -> str:
    return f"write which one counts, {_ways(key, example)}"


def _ways(key: str, example: str | int) -> str:
    return f"such as {key} = {json.dumps(example)} in discover, or as its label redirect.{key}"


def _number(container: Container, label: str, least: int, most: int) -> int | None:
    """The label's value; None without one."""
    text = container.labels.get(label)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise _LeftOutError(f"its label {label} is {_shown(text)}, and must be a whole number from {least} to {most}")
    return int(text)


def _is_on_host(view: View) -> bool:
    return view.own_id is None or (view.own is not None and view.own.network_mode == "host")


def _no_project(view: View) -> str:
    why = "docker compose did not make it" if view.own else "docker knows of none"
    return f'project = "." is that of the gateway\'s own container, and {why}: write the name of the project'


def _none_reason(discover: Discover, left_out: Sequence[LeftOut]) -> str:
    wanted = f"with {', '.join(discover.labels)}"
    if discover.project:
        wanted += f" in the project {'of the gateway' if discover.project == '.' else discover.project}"
    running = [each for each in left_out if each.state == "running"]
    if not running:
        return f"no {'running ' if left_out else ''}container {wanted} was found"
    return f"of the containers {wanted} none can be an origin: {running[0].name}: {running[0].reason}"


def _shown(text: str) -> str:
    """In quotes, without control characters, and not for ever."""
    return json.dumps(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")
