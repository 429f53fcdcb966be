"""`rexecutor doctor`: what is wrong with a store, and how to mend it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer

from rexecutor.cli.output import write_json, write_line, write_text
from rexecutor.cli.store import AsJson, Store, use_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rexecutor.backend.base import Backend
    from rexecutor.backend.findings import Finding

_INDENT: Final = 9
"""Width of the column in which the severity stands."""


def doctor(*, store: Store, json: AsJson = False) -> None:
    """Look at the store for what keeps jobs from running, makes them slow or may lose them, with each fix.

    Changes nothing. The exit status is 1 if there is a problem; warnings alone leave it 0.
    """
    from rexecutor.backend.findings import Severity  # loads msgspec

    async def look(backend: "Backend") -> "Sequence[Finding]":
        return await backend.diagnose()

    found = use_store(store, look)
    if json:
        write_json([asdict(finding) for finding in found])
    else:
        for finding in found:
            write_text(f"{finding.severity:<8} {finding.subject}: {finding.message}", indent=_INDENT)
            if finding.fix is not None:
                for number, line in enumerate(finding.fix.splitlines()):
                    write_line(" " * _INDENT + ("fix: " if number == 0 else "     ") + line)
    if any(finding.severity is Severity.PROBLEM for finding in found):
        raise typer.Exit(1)
