"""Settings: each with its variable, default, check and help text, from which the options of `serve` are made.

A bad setting stops the start, and the message names the variable, the value and what is allowed. Blanks around a value
do not count, nor do capitals in words that a setting has, as off, json or unix:.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from redirect.config.cores import usable_cores
from redirect.core.fields import OF_THE_MESSAGE
from redirect.core.forwarded import TrustedProxies

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KUBERNETES_HINT = (
    "Kubernetes sets this variable for a Service named redirect-server: "
    "set it for the container, or enableServiceLinks: false for the pod"
)
# Variables that it sets for any other Service whose name begins with redirect.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_DOCKER_HOST = re.compile(r"unix:///.+|(?:tcp|http)://[^/?#@]+/?")
# Before the path of a socket in the file system, in place of a host.
UNIX = "unix:"
_MAX_UNIX_BYTES = 107
_MAX_PORT = 65535

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]?")
_BIND = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\s]+):([0-9]{1,5})")


# What a client cannot name a pool by: it frames the message, or asks for what is refused.
_NAMING_NO_POOL = OF_THE_MESSAGE | {"expect"}


def _header_name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be the name of a header, such as X-Redirect-Pool-ID")
    if text.lower() in _NAMING_NO_POOL:
        raise ValueError("must be a header that can name a pool, such as X-Redirect-Pool-ID")
    return text


def _host(text: str) -> str:
    if (unix := _unix(text)) is not None:
        return unix
    if not _HOST.fullmatch(text) or text.count(":") == 1:
        raise ValueError("must be an address or a host name, such as 127.0.0.1; 0.0.0.0 and :: are all addresses")
    return text


def _unix(text: str) -> str | None:
    """The address of a socket in the file system, with `unix:` in small letters; None if it is another one."""
    if not text.lower().startswith(UNIX):
        return None
    path = text[len(UNIX) :].removeprefix("//")  # of a URL, which gunicorn takes away as well
    if not path.startswith("/") or len(os.fsencode(path)) > _MAX_UNIX_BYTES:
        raise ValueError(f"the path of a socket must begin with / and have at most {_MAX_UNIX_BYTES} bytes")
    return UNIX + path


def _off(text: str) -> str:
    """`OFF`, too: it would be the name of a file."""
    return "off" if text.lower() == "off" else text


def _bind(text: str) -> str:
    if (unix := _unix(text)) is not None:
        return unix
    match = _BIND.fullmatch(text)
    if _off(text) != "off" and (match is None or not _HOST.fullmatch(match[1]) or int(match[2]) > _MAX_PORT):
        raise ValueError("must be host:port, such as 127.0.0.1:9000 or 0.0.0.0:9000, unix:/path, or off")
    return _off(text)


def _proxies(text: str) -> str:
    TrustedProxies(text.lower())
    return text.lower()


def _admin_token(token: SecretStr) -> SecretStr:
    if not token.get_secret_value().isprintable():
        raise ValueError("must be characters that can be printed, as it is sent in one line")
    return token


def _docker_host(text: str) -> str:
    """`DOCKER_HOST` is for other programs, too: a bad one matters only to pools that need Docker, which will say so."""
    scheme, separator, rest = text.partition("://")
    usual = f"{scheme.lower()}{separator}{rest}"
    if not _DOCKER_HOST.fullmatch(usual) and text != os.environ.get("DOCKER_HOST", "").strip():
        raise ValueError("must be unix:///PATH or tcp://HOST:PORT")
    return usual


HeaderName = Annotated[str, AfterValidator(_header_name)]
Host = Annotated[str, AfterValidator(_host)]
AccessLog = Annotated[str, AfterValidator(_off)]
Bind = Annotated[str, AfterValidator(_bind)]
Proxies = Annotated[str, AfterValidator(_proxies)]
AdminToken = Annotated[SecretStr, AfterValidator(_admin_token)]
DockerHost = Annotated[str, AfterValidator(_docker_host)]


class SettingsError(Exception):
    """Settings are wrong; the message has a line for each."""


class Settings(BaseSettings):
    """One field per variable: the field's name in capitals, behind REDIRECT_."""

    model_config = SettingsConfigDict(env_prefix="REDIRECT_", env_ignore_empty=True, frozen=True, extra="ignore")

    pools_config_path: Path = Field(Path("redirect_pools_config.toml"), description="The TOML of the pools")
    pool_id_header: HeaderName = Field("X-Redirect-Pool-ID", description="Header that names the pool")
    server_host: Host = Field("0.0.0.0", description="Address of the public listener, or unix:/path")  # noqa: S104  it is public
    server_port: int = Field(8080, ge=0, le=_MAX_PORT, description="Port of the public listener")
    admin_bind: Bind = Field("127.0.0.1:9000", description="Admin listener as host:port, unix:/path, or off")
    admin_token: AdminToken | None = Field(None, description="Token of the admin listener, required if others reach it")
    workers: int = Field(
        default_factory=usable_cores, ge=1, le=1024, description="Worker processes; default: one per core"
    )
    worker_timeout: int = Field(10, ge=2, le=3600, description="Seconds until a worker without heartbeat is replaced")
    access_log: AccessLog = Field("-", description="Access log: - is standard output, a path is appended to, or off")
    log_query: Literal["keep", "mask", "drop"] = Field(
        "keep", description="Query strings in the access log: keep, mask their values, or drop"
    )
    log_client_ip: Literal["keep", "truncate", "drop"] = Field(
        "keep", description="Client addresses in the access log: keep, truncate to the network, or drop"
    )
    log_format: Literal["text", "json"] = Field("text", description="Error log on standard error: text or json")
    keepalive: int = Field(75, ge=1, le=3600, description="Seconds that an idle connection stays open")
    # A worker stops one second earlier, so that it is not killed while it logs.
    graceful_timeout: int = Field(10, ge=2, le=3600, description="Seconds that a stop may take")
    state_dir: Path | None = Field(None, description="Directory in which the numbers outlive a restart")
    forwarded_allow_ips: Proxies = Field(
        "127.0.0.1",
        validation_alias="FORWARDED_ALLOW_IPS",
        description="Proxies whose X-Forwarded-* is believed: addresses, CIDR ranges, unix: for sockets",
    )
    docker_host: DockerHost = Field(
        "unix:///var/run/docker.sock",
        validation_alias=AliasChoices("REDIRECT_DOCKER_HOST", "DOCKER_HOST"),
        description="Where Docker is asked for containers; DOCKER_HOST counts if it is not set",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _without_blanks(cls, value: Any, info: ValidationInfo) -> Any:
        """An empty value is an option's, or all blanks; an empty variable is none. No proxies may be trusted."""
        if not isinstance(value, str):
            return value
        value, field = value.strip(), cls.model_fields[str(info.field_name)]
        if not value and info.field_name == "docker_host":  # for other programs, too
            return field.default
        if not value and info.field_name != "forwarded_allow_ips":
            raise ValueError("must not be empty")
        return value.lower() if get_origin(field.annotation) is Literal else value

    @property
    def public_bind(self) -> str:
        if self.server_host.startswith(UNIX):
            return self.server_host
        host = self.server_host.strip("[]")
        return f"[{host}]:{self.server_port}" if ":" in host else f"{host}:{self.server_port}"

    @property
    def is_admin_exposed(self) -> bool:
        """Whether other machines may reach the admin listener: it is bound to more than loopback."""
        if self.admin_bind.startswith(UNIX):
            return False
        host = self.admin_bind.rpartition(":")[0].strip("[]")
        try:
            return self.admin_bind != "off" and not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host != "localhost"


def load_settings(used: Collection[str] = Settings.model_fields, **options: Any) -> Settings:
    """Returns the settings of this process; `options` override fields where they are not None. Those that are not
    `used` may be bad, and have their defaults then. Raises SettingsError."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        bad = {_field(fault): fault for fault in error.errors()}
    if faults := [fault for name, fault in bad.items() if name in used]:
        raise SettingsError("\n".join(map(_worded, faults)))
    fields = Settings.model_fields
    return Settings(**given, **{name: fields[name].get_default(call_default_factory=True) for name in bad})


def _field(fault: Any) -> str:
    """That of a fault, which may have the name of the variable."""
    return str(fault["loc"][0]).lower().removeprefix("redirect_")


def variable(name: str) -> str:
    name = name.upper()
    return name if name == "FORWARDED_ALLOW_IPS" or name.startswith("REDIRECT_") else f"REDIRECT_{name}"


def unknown_variables() -> Iterator[str]:
    """What to say of each variable that looks like a setting's and is none."""
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted({name.upper() for name in os.environ} - known):
        is_of_kubernetes = _SERVICE_LINK.search(name) or os.environ.get(name, "").startswith("tcp://")
        if name.startswith("REDIRECT_") and not is_of_kubernetes:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            yield f"{name} is no setting and does nothing" + (f"; did you mean {near[0]}?" if near else "")


def _worded(error: Any) -> str:
    value, reason = str(error["input"]), error["msg"].removeprefix("Value error, ")
    name = variable(str(error["loc"][0]))
    if error["type"].startswith(("int_", "greater_", "less_")):
        least, most = Settings.model_fields[_field(error)].metadata
        reason = f"must be a whole number from {least.ge} to {most.le}"
    got = "" if name == "REDIRECT_ADMIN_TOKEN" else f", got {value!r}"
    message = f"{name}: {reason[0].lower()}{reason[1:]}{got}"
    is_of_kubernetes = value.startswith("tcp://") and "DOCKER_HOST" not in message
    return f"{message}; {_KUBERNETES_HINT}" if is_of_kubernetes else message
