"""What there is to find out about a file."""

import ast
import contextlib
import hashlib
import threading
from pathlib import Path
from typing import Final

import msgspec

TRIES: Final = 20

_parsing = threading.Lock()


class Findings(msgspec.Struct, frozen=True):
    """What a file holds: the same for the same file, whoever looks."""

    path: str
    sha256: str
    nodes: int = 0
    functions: int = 0
    classes: int = 0
    error: str | None = None
    """The type of the error that reading or parsing it ends in; some of the standard library's do on purpose."""


def examined(path: str) -> Findings:
    """Read, hash and parse a file; an error of the file is a finding too."""
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

    CPython 3.11 counts the depth of all threads' parsing in one place and calls a mismatch a SystemError. The lock
    keeps our own threads apart; whoever prints a traceback parses too, so that a second try may be needed.
    """
    with _parsing:
        for _ in range(TRIES - 1):
            with contextlib.suppress(SystemError):
                return ast.parse(content)
        return ast.parse(content)
