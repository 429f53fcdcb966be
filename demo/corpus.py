"""Which files the demo works on, and which of its jobs are to give trouble."""

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.work import SourceFile, Trouble
from rexecutor.model.job import is_storable

ENOUGH: Final = 1_200
"""Packages beside the standard library are added until there are so many files."""
MOST: Final = 2_000
"""Of packages, no more are added than make so many."""
ONE_IN: Final = 50
"""One file in so many fails on its first attempt."""
SMALL: Final = 1_000
"""Below so many files, they may all be done before a worker can be caught at work: one of them then lingers."""

_NOT_OURS: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files to work on."""

    folders: Sequence[Path]
    files: Sequence[Path]
    left_out: int
    """How many files have a name that is no UTF-8, which JSON cannot hold."""


def files_below(folder: Path) -> Corpus:
    """Answer all Python files below the folder."""
    return _corpus([folder], list(_python_files(folder, frozenset({"__pycache__"}))))


def installed_files() -> Corpus:
    """Answer the running Python's standard library; with packages where that is small, as on Debian."""
    library = Path(sysconfig.get_path("stdlib"))
    folders, files = [library], list(_python_files(library, _NOT_OURS))
    for folder in _package_folders():
        if len(files) >= ENOUGH:
            break
        more = list(_python_files(folder, frozenset({"__pycache__"})))
        if more:
            folders.append(folder)
            files += more[: MOST - len(files)]
    return _corpus(folders, files)


def planned(files: Sequence[Path]) -> list[SourceFile]:
    """Answer one job's data a file, in order; the same files always give the same trouble.

    One of them fails always, one in fifty on its first attempt; where they are few, one lingers.
    """
    ranked = sorted(range(len(files)), key=lambda index: hashlib.sha256(os.fsencode(files[index])).digest())
    troubles: dict[int, Trouble] = {}
    if len(files) < SMALL:
        troubles |= dict.fromkeys(ranked[2:3], "lingers")
    troubles |= dict.fromkeys(ranked[:1], "always fails")
    once = 1 + len(files) // ONE_IN
    troubles |= dict.fromkeys([index for index in ranked if index not in troubles][:once], "fails once")
    return [SourceFile(str(path), troubles.get(index, "none")) for index, path in enumerate(files)]


def _corpus(folders: Sequence[Path], files: Sequence[Path]) -> Corpus:
    named = sorted(path for path in files if not _is_unnamable(path))
    return Corpus(folders, named, len(files) - len(named))


def _python_files(folder: Path, without: frozenset[str]) -> Iterator[Path]:
    for place, below, names in os.walk(folder):
        below[:] = sorted(set(below) - without)
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(".py") and path.is_file():
                yield path


def _package_folders() -> Iterator[Path]:
    """Walk the folders of installed packages: this environment's, then those of the Python below it."""
    seen: set[Path] = set()
    base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}
    for known in ({}, base):
        for key in ("purelib", "platlib"):
            folder = Path(sysconfig.get_path(key, vars=known)).resolve()
            if folder not in seen:
                seen.add(folder)
                yield folder


def _is_unnamable(path: Path) -> bool:
    return not is_storable(str(path))
