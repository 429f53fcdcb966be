"""Which files the demo works on, and which of its jobs fail or linger on purpose."""

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

MIN_FILES: Final = 1_200
"""Installed packages are added to the standard library until there are this many files."""
MAX_FILES: Final = 2_000
"""Maximum number of files if packages are added."""
FILES_PER_FAILURE: Final = 50
"""One job in this many fails on its first attempt."""
SMALL: Final = 1_000
"""With fewer files, one job lingers; otherwise all may be done before a worker with a running job can be killed."""

_SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files to work on."""

    folders: Sequence[Path]
    files: Sequence[Path]
    left_out: int
    """How many files were left out because their names are not UTF-8, which JSON cannot hold."""


def files_below(folder: Path) -> Corpus:
    """Return all Python files below the folder."""
    return _corpus([folder], list(_python_files(folder, frozenset({"__pycache__"}))))


def installed_files() -> Corpus:
    """Return the standard library of the running Python, with installed packages if it is small, as on Debian."""
    library = Path(sysconfig.get_path("stdlib"))
    folders, files = [library], list(_python_files(library, _SKIPPED_FOLDERS))
    for folder in _package_folders():
        if len(files) >= MIN_FILES:
            break
        more = list(_python_files(folder, frozenset({"__pycache__"})))
        if more:
            folders.append(folder)
            files += more[: MAX_FILES - len(files)]
    return _corpus(folders, files)


def planned(files: Sequence[Path]) -> list[SourceFile]:
    """Return the data of one job for each file, in order. The same files always get the same troubles.

    One job always fails and one in fifty fails on its first attempt. If there are few files, one job lingers.
    """
    ranked = sorted(range(len(files)), key=lambda index: hashlib.sha256(os.fsencode(files[index])).digest())
    troubles: dict[int, Trouble] = {}
    if len(files) < SMALL:
        troubles |= dict.fromkeys(ranked[2:3], "lingers")
    troubles |= dict.fromkeys(ranked[:1], "always fails")
    once = 1 + len(files) // FILES_PER_FAILURE
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
    """Yield the folders of installed packages: those of this environment, then those of its base Python."""
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
