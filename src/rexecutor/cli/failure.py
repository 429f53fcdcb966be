"""How a command ends that cannot do what it was asked for."""

import sys


class FailedError(Exception):
    """The command could not be done: exit status 1."""


class MisusedError(Exception):
    """The command was called in a way that cannot work: exit status 2."""


def printable(text: str) -> str:
    """Answer the text on one line, with its control characters written out, so that it cannot steer a terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def report(message: str, *, hint: str | None = None) -> None:
    """Say on stderr what went wrong, in one line, and what to do in another."""
    lines = ["error: " + printable(" ".join(message.split()))]
    if hint is not None:
        lines.append(hint)
    sys.stderr.write("\n".join(lines) + "\n")


def note(message: str) -> None:
    """Say on stderr what is good to know."""
    sys.stderr.write(printable(message) + "\n")
