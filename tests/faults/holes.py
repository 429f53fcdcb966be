"""Single connections that fall silent with a statement under way on them, while all others are well."""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Final

from tests.faults.proxy import Loss, Proxy

_STATEMENT: Final = b"^[^\x00]"
"""Whatever is sent but the first message of a connection: new connections are well."""


@dataclass(frozen=True, slots=True)
class Hole:
    """One connection that fell silent."""

    role: str
    loss: Loss
    at: float
    """The machine's monotonic seconds."""


class Holes:
    """For each role that is given, the connection of its next statement becomes a hole."""

    def __init__(self, proxy: Proxy, chance: random.Random, roles: Mapping[str, bytes]) -> None:
        """Begin with none. A role is known by a pattern of what is sent to the server."""
        self.all: Final[list[Hole]] = []
        self._chance = chance
        self._proxy = proxy
        self._patterns = {role: re.compile(pattern, re.DOTALL) for role, pattern in roles.items()}
        self._wanted: list[str] = []
        proxy.silences = self._falls_silent

    def dig(self, roles: Iterable[str]) -> None:
        """Make one for each role."""
        self._wanted += roles

    def dig_all(self) -> None:
        """Make a hole of each connection that is open now."""
        self._proxy.silence_all()
        self.all.append(Hole("all", "request", monotonic()))

    @property
    def wanted(self) -> list[str]:
        """The roles whose next statement has not come yet."""
        return list(self._wanted)

    def _falls_silent(self, message: bytes) -> Loss | None:
        if not re.match(_STATEMENT, message):
            return None
        role = next((role for role in self._wanted if self._patterns[role].search(message)), None)
        if role is None:
            return None
        self._wanted.remove(role)
        hole = Hole(role, self._chance.choice(("request", "answer")), monotonic())
        self.all.append(hole)
        return hole.loss
