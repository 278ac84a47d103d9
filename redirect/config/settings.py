"""Settings: what the environment says, each with its default. Options of the command line come first.

The rule: a bad setting stops the start, and the message names the variable, the value and what is allowed.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from redirect.core.forwarded import TrustedProxies

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BIND = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\s]+):([0-9]{1,5})")


def _cores() -> int:
    """Cores that this process may use; fewer than the machine has where an affinity is set."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _header_name(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be the name of a header, such as X-Redirect-Pool-ID")
    return text


def _bind(text: str) -> str:
    match = _BIND.fullmatch(text)
    if text != "off" and (match is None or int(match[2]) > 65535):
        raise ValueError("must be host:port, such as 127.0.0.1:9000, or off")
    return text


def _proxies(text: str) -> str:
    TrustedProxies(text)
    return text


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=3600)]


class SettingsError(Exception):
    """A setting is wrong; the message says which, and what is allowed."""


class Settings(BaseSettings):
    """One field per variable: the field's name in capitals, behind REDIRECT_."""

    model_config = SettingsConfigDict(env_prefix="REDIRECT_", env_ignore_empty=True, frozen=True, extra="ignore")

    pools_config_path: Path = Path("redirect_pools_config.toml")
    pool_id_header: Annotated[str, AfterValidator(_header_name)] = "X-Redirect-Pool-ID"
    server_host: str = "0.0.0.0"  # noqa: S104  a server that containers and other machines reach
    server_port: Port = 8080
    admin_bind: Annotated[str, AfterValidator(_bind)] = "127.0.0.1:9000"
    admin_token: SecretStr | None = None
    workers: Annotated[int, Field(ge=1, le=1024, default_factory=_cores)]
    access_log: str = "-"
    keepalive: Seconds = 75
    worker_timeout: Annotated[int, Field(ge=2, le=3600)] = 10
    graceful_timeout: Annotated[int, Field(ge=2, le=3600)] = 10  # a worker has one less, lest it is killed as it logs
    forwarded_allow_ips: Annotated[str, AfterValidator(_proxies), Field(validation_alias="FORWARDED_ALLOW_IPS")] = (
        "127.0.0.1"
    )

    @property
    def public_bind(self) -> str:
        """The public listener as `host:port`."""
        host = self.server_host.strip("[]")
        return f"[{host}]:{self.server_port}" if ":" in host else f"{host}:{self.server_port}"

    @property
    def is_admin_exposed(self) -> bool:
        """Whether other machines may reach the admin listener: it is bound to more than loopback."""
        host = self.admin_bind.rpartition(":")[0].strip("[]")
        try:
            return self.admin_bind != "off" and not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host != "localhost"


def load_settings(**options: Any) -> Settings:
    """The settings of this process; `options` are fields that come first where they are not None.

    Raises SettingsError.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(
            "\n".join(f"{_variable(each['loc'])}: {_worded(each)}" for each in error.errors())
        ) from None


def _variable(loc: tuple[int | str, ...]) -> str:
    name = str(loc[0])
    return "FORWARDED_ALLOW_IPS" if name.upper() == "FORWARDED_ALLOW_IPS" else f"REDIRECT_{name.upper()}"


def _worded(error: Any) -> str:
    reason = error["msg"].removeprefix("Value error, ")
    return f"{reason[0].lower()}{reason[1:]}, got {str(error['input'])!r}"
