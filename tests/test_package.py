"""What is installed: the wheel, in an environment that does not see the source tree."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import rexecutor
import rexecutor.testing

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """\
import django, importlib, json, pkgutil, rexecutor, rexecutor.testing
from django.conf import settings
apps = [f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages", "sessions")]
settings.configure(INSTALLED_APPS=[*apps, "rexecutor.django"])
django.setup()
for module in pkgutil.walk_packages(rexecutor.__path__, "rexecutor."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name not in ("django.tasks", "django.utils.json") or django.VERSION >= (6,):
                raise
from rexecutor.backend.postgres import PostgresBackend
for package in (rexecutor, rexecutor.testing):
    for name in package.__all__:
        getattr(package, name)
from rexecutor.testing import BackendModel, model_of
print(json.dumps([rexecutor.__file__, rexecutor.__all__, rexecutor.testing.__all__]))
"""
RUN_A_JOB = """\
import asyncio
from rexecutor import Executor, Job, Rexecutor, SQLiteBackend

class Greet(Executor[str]):
    name = "greet"
    async def execute(self, job: Job[str]) -> None:
        print("hello", job.data)

async def main() -> None:
    async with Rexecutor(SQLiteBackend("jobs.db")).with_executor(Greet).set_global_backend():
        print((await (await Greet.builder().with_data("Ada").enqueue()).wait()).status)

asyncio.run(main())
"""
SUITE = """\
from rexecutor import InMemoryBackend
from rexecutor.testing import BackendSuite

class TestOfTheWheel(BackendSuite):
    shares_store = False

    def open_backend(self, clock, store):
        return InMemoryBackend(clock=clock)
"""


class Installed(NamedTuple):
    """An environment with the wheel, and an empty folder to run programs in."""

    bin: Path
    folder: Path

    def run(self, program: str, *arguments: str | Path, fails: bool = False) -> str:
        """Run a program of the environment and return what it prints."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "REXECUTOR"))}
        command = [self.bin / program, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=environ, check=False, timeout=100, capture_output=True, text=True
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", str(ROOT)]
    subprocess.run([*command, "--wheel-dir", str(folder)], check=True, timeout=100, capture_output=True)
    (wheel,) = folder.glob("rexecutor-*.whl")
    return wheel


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, with this environment's dependencies and without its rexecutor, which is the source tree."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=sys.platform != "win32")
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, wheel], check=True, timeout=100, capture_output=True)
    (site,) = (folder / "venv").glob("**/site-packages")
    # A `.pth` within a folder that a `.pth` names is not read, and such a file is what an editable install consists of.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (folder / "empty").mkdir()
    return Installed(scripts, folder / "empty")


def test_the_wheel_holds_the_statements_the_migrations_and_the_types_marker(names: set[str]) -> None:
    source = ROOT / "src"
    expected = {str(path.relative_to(source)) for path in source.rglob("*.sql")} | {"rexecutor/py.typed"}
    assert len(expected) > 10
    assert expected <= names


def test_the_wheel_holds_the_package_and_nothing_of_the_demo(names: set[str]) -> None:
    folders = {name.partition("/")[0].partition("-")[0] for name in names}

    assert folders == {"rexecutor"}
    assert [name for name in names if "demo" in name] == []


def test_all_modules_and_all_public_names_are_imported_from_the_wheel(installed: Installed) -> None:
    file, public, testing = json.loads(installed.run("python", "-c", IMPORT_ALL))

    assert Path(file).is_relative_to(installed.bin.parent)
    assert (public, testing) == (rexecutor.__all__, rexecutor.testing.__all__)


@pytest.mark.parametrize("command", [("rexecutor",), ("python", "-m", "rexecutor")], ids=" ".join)
def test_the_command_line_is_there(installed: Installed, command: tuple[str, ...]) -> None:
    assert "migrate" in installed.run(*command, "--help")


def test_a_job_runs_on_the_wheel_alone(installed: Installed) -> None:
    assert installed.run("python", "-c", RUN_A_JOB) == "hello Ada\ncomplete\n"


def test_a_backend_is_tested_with_the_suite_in_the_wheel(installed: Installed) -> None:
    (installed.folder / "test_suite.py").write_text(SUITE, encoding="utf-8")

    said = installed.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto", "test_suite.py"
    )

    assert " passed" in said


def test_mypy_finds_the_types_of_the_wheel(installed: Installed) -> None:
    shutil.copytree(ROOT / "typing_tests", installed.folder / "typing_tests")
    (installed.folder / "wrong.py").write_text("import rexecutor\nrexecutor.InMemoryBackend(nonsense=1)\n")
    overrides = '[[tool.mypy.overrides]]\nmodule = "asyncpg.*"\nfollow_untyped_imports = true\n'
    (installed.folder / "pyproject.toml").write_text(f"[tool.mypy]\nstrict = true\n{overrides}", encoding="utf-8")

    installed.run("python", "-m", "mypy", "typing_tests")

    assert 'Unexpected keyword argument "nonsense"' in installed.run("python", "-m", "mypy", "wrong.py", fails=True)
