"""Makes an environment for each system, once, in the user's cache folder."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.systems import System

ROOT: Final = Path(__file__).parent.parent
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rexecutor-benchmarks"


class NotInstalledError(Exception):
    """The packages of a system cannot be installed here."""


def newest_python() -> Path:
    """Return the newest CPython of this machine, up to the newest that all systems support, for all environments."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in ("3.13", "3.12"):
        for found in [*sorted(root.glob(f"{version}.*/bin/python"), reverse=True), shutil.which(f"python{version}")]:
            if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
                return Path(found)
    return Path(getattr(sys, "_base_executable", sys.executable))


def interpreter(system: System, base: Path, *, here: bool) -> Path:
    """Return the interpreter of the system's environment; make the environment if there is none.

    Args:
        system: Whose environment.
        base: The interpreter that environments are made with.
        here: Whether a system without peers (ours, bare) runs in the driver's own environment.

    Raises:
        NotInstalledError: pip has failed.
    """
    if here or not system.requirements:
        return Path(sys.executable)
    return environment(system.environment, system.requirements, base)


def environment(name: str, requirements: tuple[str, ...], base: Path) -> Path:
    """Return the interpreter of an environment with these packages; make it if there is none.

    Raises:
        NotInstalledError: pip has failed.
    """
    pins = hashlib.sha256("\n".join((str(base), *requirements)).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{pins}"
    inner, ready, failed = folder / "bin" / "python", folder / ".ready", folder / ".failed"
    if ready.exists():
        return inner
    if failed.exists():
        raise NotInstalledError(failed.read_text(encoding="utf-8"))
    print(f"making {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([base, "-m", "venv", folder], check=True)
    pip = [inner, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip() or "pip has failed").splitlines()[-1]
        failed.write_text(why, encoding="utf-8")
        raise NotInstalledError(why)
    ready.touch()
    return inner
