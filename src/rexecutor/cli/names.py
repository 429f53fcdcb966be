"""Checks the names of executors that are given to commands."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rexecutor.cli.failure import note

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend


async def note_unknown(backend: "Backend", names: Iterable[str]) -> None:
    """Print a note on stderr for each executor that has no job in the store: its name may be misspelt."""
    from rexecutor.model.where import ExecutorIn  # not needed for --help

    for name in sorted(names):
        if not await backend.query(ExecutorIn(frozenset({name})), limit=1):
            line = backend.command("stats")
            note(f"no job in this store has the executor {name!r}" + (f"; for those there are: {line}" if line else ""))
