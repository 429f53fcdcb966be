"""The commands that messages tell people to run, written so that they work as they are printed."""

import shlex
import sys
from functools import cache
from shutil import which


def command(*words: str) -> str:
    """Return the line for a shell that runs this command of `rexecutor`."""
    return f"{program()} {shlex.join(words)}"


@cache
def program() -> str:
    """Return how a shell calls `rexecutor` here: by its name, or through this Python if the path lacks it."""
    if which("rexecutor") or not sys.executable:
        return "rexecutor"
    return f"{shlex.quote(sys.executable)} -m rexecutor"
