"""A TOML as the service reads it."""

from pathlib import Path

import pytest

from redirect.config.loader import ConfigError, Loader, parse_config
from redirect.core.pools import Config


def read(text: str | bytes) -> Config:
    return parse_config(text.encode() if isinstance(text, str) else text, "pools.toml", is_served=True)


def refused(text: str | bytes) -> str:
    """The message that refuses it."""
    with pytest.raises(ConfigError) as refusal:
        read(text)
    return str(refusal.value)


def load(path: str | Path) -> Config:
    """The configuration in a file."""
    return Loader(str(path)).load()
