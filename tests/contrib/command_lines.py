"""Holds command lines in files against the command line that there is."""

import shlex
from collections.abc import Sequence

from tests.cli.test_documented import COMMANDS


def parse(line: str | Sequence[str]) -> dict[str, object]:
    """Return the arguments and options that a command line, from `rexecutor` on, sets.

    Raises:
        ValueError: There is no such command or option, or an argument is missing or wrong.
    """
    words = shlex.split(line) if isinstance(line, str) else list(line)
    words[0] = words[0].rpartition("/")[2]
    for length in (3, 2):
        name = " ".join(words[:length])
        if name in COMMANDS:
            try:
                return dict(COMMANDS[name].make_context(name, words[length:]).params)
            except Exception as error:  # typer keeps the classes of its errors to itself
                raise ValueError(f"{line}: {error}") from error
    raise ValueError(f"{line}: no such command")


def variables() -> set[str]:
    """Return the names of all environment variables that the command line reads."""
    named = {parameter.envvar for command in COMMANDS.values() for parameter in command.params}
    return {name for name in named if isinstance(name, str)} | {"REXECUTOR_URL", "REXECUTOR_SCHEMA"}
