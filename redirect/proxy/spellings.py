"""What the names and lines of a head mean, as they are spelled: worked out once, and looked up from then on.

The rule: what is remembered is all that clients, proxies and servers use, and no unlimited number of others.
"""

from collections.abc import Callable
from typing import TypeVar

MAX_SPELLINGS = 1024
MAX_SPELLING_CHARACTERS = 64

K = TypeVar("K", bound=bytes | str)
V = TypeVar("V")


class Spellings(dict[K, V]):
    def __init__(self, meaning: Callable[[K], V]) -> None:
        super().__init__()
        self._meaning = meaning

    def __missing__(self, spelled: K) -> V:
        meaning = self._meaning(spelled)
        if len(self) < MAX_SPELLINGS and len(spelled) <= MAX_SPELLING_CHARACTERS:
            self[spelled] = meaning
        return meaning
