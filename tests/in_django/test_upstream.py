"""Django's own tests of `django.tasks`, run with our backend."""

import fcntl
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import django
import pytest

from tests.in_django.upstream import NOT_RUN

BUILD = Path(__file__).parents[2] / "build"
LEAST = 70 if django.VERSION >= (6, 1) else 65
"""How many of Django's tests run at least. 6.1.3 has 85, and 6.0 fewer."""

pytestmark = pytest.mark.skipif(django.VERSION < (6,), reason="Django 6 needs Python 3.12")


def test_djangos_own_tests_pass_with_our_backend() -> None:
    """`NOT_RUN` says which do not run, and why."""
    folder = fetched_tests()

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.in_django.upstream", folder],
        cwd=BUILD.parent,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    ended: dict[str, str] = json.loads(done.stdout)
    assert {name: error for name, error in ended.items() if error} == {}
    assert len(ended) >= LEAST
    assert not NOT_RUN.keys() & ended.keys()


def fetched_tests() -> Path:
    """Return the folder of Django's tests, from the source distribution that pip has got once for this version."""
    folder = BUILD / f"django-{django.__version__}-tests"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "django-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "tasks").exists():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    name = f"django-{django.__version__}"
    command: Sequence[str] = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
    try:
        subprocess.run(
            [*command, "--dest", BUILD, f"django=={django.__version__}"],
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"pip cannot get the sdist of Django {django.__version__}, whose tests these are: {error.stderr}")
    with tarfile.open(BUILD / f"{name}.tar.gz") as archive:
        chosen = [one for one in archive if one.name.startswith(f"{name}/tests/tasks/") and one.isfile()]
        for one in chosen:
            one.name = one.name.removeprefix(f"{name}/tests/")
        archive.extractall(folder, chosen, filter="data")
    (BUILD / f"{name}.tar.gz").unlink()
