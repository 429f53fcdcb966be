"""The shell commands that messages tell people to run, written so that they work as printed."""

import shlex
import sys
from functools import cache
from shutil import which


def command(*words: str) -> str:
    """Return the shell line that runs this command of `rexecutor`."""
    return f"{program()} {shlex.join(words)}"


@cache
def program() -> str:
    """Return how a shell calls `rexecutor` here: by name, or through this Python if it is not on the `PATH`."""
    if which("rexecutor") or not sys.executable:
        return "rexecutor"
    return f"{shlex.quote(sys.executable)} -m rexecutor"
