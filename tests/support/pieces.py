"""A TOML that is read in pieces, and as a whole."""

import pytest

from redirect.config.loader import ConfigError, parse_config
from redirect.core.pools import Config, Fault

FILE = "pools.toml"


def outcome_in_pieces(text: str) -> Config | tuple[Fault, ...]:
    """What `text` becomes when each piece has a pool or two."""
    return _outcome(text, 1)


def outcome_as_a_whole(text: str) -> Config | tuple[Fault, ...]:
    return _outcome(text, 2**64)


def _outcome(text: str, size: int) -> Config | tuple[Fault, ...]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("redirect.config.pieces.POOLS_PER_PIECE", size)
        try:
            return parse_config(text.encode(), FILE)
        except ConfigError as error:
            return error.faults
