"""What a program asks of the library, each with its beginning, its end and what came of it, in a file of lines."""

import json
import os
import re
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from time import monotonic
from typing import Final

OK: Final = "ok"
WAITING: Final = "still waiting"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call."""

    kind: str
    begun: float
    """The machine's monotonic seconds, the same clock in all its processes."""
    ended: float
    """When it returned or raised; when the lines were read, if it has not."""
    outcome: str
    """`ok`, the error, or `still waiting`."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun


class Operations:
    """Writes them, from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file to append to it."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._numbers = count()

    @contextmanager
    def noted(self, kind: str) -> Generator[None]:
        """Note the block as one operation. An error in it is noted, and goes no further."""
        number, outcome = next(self._numbers), OK
        self._write(number, kind)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - which one is what is noted
            outcome = f"{type(error).__name__}: {error}"[:70].rstrip(": ")
        self._write(number, outcome)

    def _write(self, number: int, what: str) -> None:
        os.write(self._file, f"{json.dumps([number, what, monotonic()])}\n".encode())


def read_operations(path: Path) -> list[Operation]:
    """Return all that have begun, in that order."""
    text = path.read_text() if path.exists() else ""
    begun: dict[int, tuple[str, float]] = {}
    done: dict[int, tuple[float, str]] = {}
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            number, what, at = json.loads(line)
            if number in begun:
                done[number] = at, what
            else:
                begun[number] = what, at
    now = monotonic()
    return [Operation(kind, at, *done.get(number, (now, WAITING))) for number, (kind, at) in begun.items()]


def of_kind(operations: Iterable[Operation], *kinds: str) -> list[Operation]:
    """Return those of these kinds."""
    return [one for one in operations if one.kind in kinds]


def done_between(operations: Iterable[Operation], begin: float, end: float) -> list[Operation]:
    """Return those that have succeeded between the two moments."""
    return [one for one in operations if one.outcome == OK and begin <= one.ended <= end]


def longest_gap(operations: Iterable[Operation], begin: float, end: float) -> float:
    """Return the longest time between the two moments in which none has succeeded."""
    return longest_without((one.ended for one in done_between(operations, begin, end)), begin, end)


def longest_without(moments: Iterable[float], begin: float, end: float) -> float:
    """Return the longest time between the two moments in which there is none of these."""
    times = sorted([begin, end, *(moment for moment in moments if begin < moment < end)])
    return max(after - before for before, after in pairwise(times))


def longest(operations: Sequence[Operation]) -> dict[str, float]:
    """Return the seconds of each kind's longest."""
    kinds = sorted({one.kind for one in operations})
    return {kind: round(max(one.seconds for one in operations if one.kind == kind), 2) for kind in kinds}


def outcomes(operations: Iterable[Operation]) -> dict[str, int]:
    """Return how often each kind came to what, except to success. Numbers, such as a job's, do not count."""
    return dict(
        Counter(f"{one.kind}: {re.sub(r'[0-9][0-9:]*', '…', one.outcome)}" for one in operations if one.outcome != OK)
    )
