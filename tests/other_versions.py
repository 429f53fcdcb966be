"""Runs the tests on every other CPython of this machine, with pytest's arguments: `python -m tests.other_versions -x`.

Each has an environment of its own in `.venvs`, made anew when the pins change. With `--quick` first, it runs the quick
tier: no PostgreSQL, nothing that takes long, and mypy on `typing_tests`.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
VENVS: Final = ROOT / ".venvs"
PINS: Final = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
LEFT_OUT: Final = (
    "backend/sqlite/test_plans.py",
    "cli/test_[!w]*",
    "cli/test_worker_health.py",
    "demo",
    "examples/test_[!d]*",  # all but the Django project, which runs on Python 3.12 and later only
    "faults",
    "frameworks/test_gunicorn.py",
    "frameworks/test_uvicorn.py",
    "project/test_[!d]*",
    "simulation",
    "test_package.py",
    "testing/test_pytest_plugin.py",
)
QUICK: Final = ("tests", "-k", "not postgres", *(f"--ignore-glob=tests/{name}" for name in LEFT_OUT))
"""What the quick tier adds to pytest's arguments. It leaves out what takes long and what no version changes."""
ASK: Final = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"


def versions() -> list[str]:
    """Return the versions that the package is for, without this interpreter's own."""
    project = tomllib.loads(PINS[0].read_text(encoding="utf-8"))["project"]
    named = (classifier.rpartition(" :: ")[2] for classifier in project["classifiers"])
    own = "{}.{}".format(*sys.version_info)
    return [name for name in named if name.startswith("3.") and name != own]


def find(version: str) -> Path | None:
    """Return a CPython of this version: pyenv's newest, or the one on the path."""
    return next((found for found in _candidates(version) if _told(found) == f"cpython {version}"), None)


def _candidates(version: str) -> Iterator[Path]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    made = [folder for folder in root.glob(f"{version}.*") if folder.name.rpartition(".")[2].isdecimal()]
    for folder in sorted(made, key=lambda folder: int(folder.name.rpartition(".")[2]), reverse=True):
        yield folder / "bin" / "python"
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield Path(on_path)


def _told(python: Path) -> str | None:
    """Return what the interpreter says of itself; None if it does not run, as a shim of pyenv may not."""
    try:
        return subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _environment(version: str, python: Path) -> Path:
    """Make the environment, unless it is there and the pins are older; return its interpreter."""
    folder = VENVS / version
    inner, ready = folder / "bin" / "python", folder / ".ready"
    if ready.exists() and all(pin.stat().st_mtime <= ready.stat().st_mtime for pin in PINS):
        return inner
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    pip = [inner, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "-c", PINS[1]]
    subprocess.run([*pip, "pip"], check=True)
    subprocess.run([*pip, "--group", f"{PINS[0]}:dev"], check=True)
    subprocess.run(
        [
            *pip,
            "--no-build-isolation",
            "--editable",
            f"{ROOT}[cli,postgres,prometheus,otel,sentry,reload,uvloop,django]",
        ],
        check=True,
    )
    ready.touch()
    return inner


def main(arguments: Sequence[str]) -> int:
    """Run the tests on each; return 1 if one has failed or could not be run."""
    ended: dict[str, str] = {}
    for version in versions():
        python = find(version)
        if python is None:
            ended[version] = "NOT TESTED: none found, neither in pyenv's versions nor on the path"
            continue
        _say(f"Python {version}: {python}")
        try:
            inner = _environment(version, python)
        except subprocess.CalledProcessError as error:
            ended[version] = f"FAILED: no environment, since this failed: {shlex.join(map(str, error.cmd))}"
            continue
        ended[version] = _run(_commands(version, inner, arguments))
    for version, how in ended.items():
        _say(f"Python {version}: {how}")
    return int(any(how.startswith("FAILED") for how in ended.values()))


def _commands(version: str, inner: Path, arguments: Sequence[str]) -> list[list[str | Path]]:
    if arguments[:1] != ["--quick"]:
        return [[inner, "-m", "pytest", *arguments]]
    return [
        [inner, "-m", "mypy", "--python-version", version],
        [inner, "-m", "pytest", *QUICK, *arguments[1:]],
    ]


def _run(commands: Sequence[Sequence[str | Path]]) -> str:
    """Run all commands and return how they ended."""
    codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands]
    return f"FAILED ({', '.join(map(str, codes))})" if any(codes) else "passed"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
