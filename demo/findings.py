"""What a job finds out about a file."""

import ast
import contextlib
import hashlib
import threading
from pathlib import Path
from typing import Final

import msgspec

PARSE_TRIES: Final = 20

_parsing = threading.Lock()


class Findings(msgspec.Struct, frozen=True):
    """What a file contains. The same file always gives the same findings."""

    path: str
    sha256: str
    nodes: int = 0
    functions: int = 0
    classes: int = 0
    error: str | None = None
    """Type of the error if the file cannot be read or parsed, as some files of the standard library on purpose."""


def examined(path: str) -> Findings:
    """Read, hash and parse a file. If it cannot be read or parsed, that is a finding too."""
    sha256 = ""
    try:
        content = Path(path).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        tree = _parsed(content)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Findings(path, sha256, error=type(error).__name__)
    nodes = functions = classes = 0
    for node in ast.walk(tree):
        nodes += 1
        functions += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        classes += isinstance(node, ast.ClassDef)
    return Findings(path, sha256, nodes, functions, classes)


def _parsed(content: bytes) -> ast.Module:
    """Parse, one thread at a time.

    CPython 3.11 counts the depth of all threads' parsing in one place and raises a SystemError on a mismatch. The lock
    keeps these threads apart. Printing a traceback parses too, so a second try may be needed.
    """
    with _parsing:
        for _ in range(PARSE_TRIES - 1):
            with contextlib.suppress(SystemError):
                return ast.parse(content)
        return ast.parse(content)
