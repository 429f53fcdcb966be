"""The errors that end a command, and what is printed on stderr."""

import sys
import traceback
from contextvars import ContextVar
from pathlib import Path
from typing import Final

DEBUGGING: Final = ContextVar("DEBUGGING", default=False)
"""Whether the traceback of an error is printed."""


AS_JSON: Final = ContextVar("AS_JSON", default=False)
"""Whether an error is printed as a line of JSON, between other such lines of a log."""


class FailedError(Exception):
    """The command failed: exit status 1."""


class MisusedError(Exception):
    """The command was called with arguments that cannot work: exit status 2."""


def printable(text: str) -> str:
    """Return the text on one line, with control characters escaped, so that it cannot control a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def report(message: str, error: BaseException, *, hint: str | None = None) -> None:
    """Print an error on stderr in one line, and the hint, if any, in a second line; with `--debug`, its traceback.

    If `AS_JSON` is set, all of it is one line of JSON.
    """
    if AS_JSON.get():
        from rexecutor.cli.json_lines import error_line  # most commands do not need logging

        shown = message if hint is None else f"{message}; {hint}"
        sys.stderr.write(error_line(" ".join(shown.split()), error if DEBUGGING.get() else None) + "\n")
        return
    if DEBUGGING.get():
        traceback.print_exception(error)
    lines = ["error: " + printable(" ".join(message.split()))]
    if hint is not None:
        lines.append(hint)
    sys.stderr.write("\n".join(lines) + "\n")


def described(error: BaseException) -> str:
    """Return an unexpected exception and where it was raised, in one line."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    here = str(Path.cwd())
    theirs = [frame for frame in frames if frame.filename.startswith(here)] or frames  # not a library's, if possible
    text = f"{type(error).__name__}: {error}"
    return f"{text} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else text


def note(message: str) -> None:
    """Print a note on stderr, which leaves the output on stdout as it is."""
    sys.stderr.write(printable(message) + "\n")
