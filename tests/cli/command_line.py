"""What a command of the command line comes to, for the tests."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The error, which is at most three lines and no traceback."""
        assert self.status != 0
        assert self.out == ""
        assert 1 <= len(self.err.splitlines()) <= 3
        assert "Traceback" not in self.err
        return self.err


Run: TypeAlias = Callable[..., Answer]
