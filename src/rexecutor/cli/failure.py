"""The errors that end a command, and what is printed on stderr."""

import sys


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


def report(message: str, *, hint: str | None = None) -> None:
    """Print an error on stderr in one line, and the hint, if any, in a second line."""
    lines = ["error: " + printable(" ".join(message.split()))]
    if hint is not None:
        lines.append(hint)
    sys.stderr.write("\n".join(lines) + "\n")


def note(message: str) -> None:
    """Print a note on stderr, which leaves the output on stdout as it is."""
    sys.stderr.write(printable(message) + "\n")
