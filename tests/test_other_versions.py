"""`make test-versions` finds the other CPythons of a machine, and says which there are not."""

import sys
from pathlib import Path

import pytest

from tests import other_versions
from tests.other_versions import find, main, versions

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts stand for interpreters")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a machine without any interpreter may get some: `versions` is pyenv's, `bin` is on the path."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def put(python: Path, says: str) -> Path:
    """Make an interpreter that says this of itself."""
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho '{says}'\n")
    python.chmod(0o755)
    return python


def test_the_newest_of_pyenv_is_taken(machine: Path) -> None:
    put(machine / "versions/3.13.9/bin/python", "cpython 3.13")
    newest = put(machine / "versions/3.13.10/bin/python", "cpython 3.13")
    put(machine / "bin/python3.13", "cpython 3.13")

    assert find("3.13") == newest


def test_one_on_the_path_is_taken(machine: Path) -> None:
    on_path = put(machine / "bin/python3.14", "cpython 3.14")

    assert find("3.14") == on_path


def test_what_is_no_cpython_of_the_version_is_passed_over(machine: Path) -> None:
    put(machine / "versions/3.13.1/bin/python", "pypy 3.13")
    put(machine / "bin/python3.13", "cpython 3.12")

    assert find("3.13") is None


def test_each_version_that_is_not_there_is_said(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0

    assert capsys.readouterr().out == "".join(
        f"Python {version}: NOT TESTED: none found, neither in pyenv's versions nor on the path\n"
        for version in versions()
    )


@pytest.mark.parametrize(("code", "status", "said"), [("exit 0", 0, "passed"), ("exit 3", 1, "FAILED (3)")])
def test_a_failure_on_one_version_is_a_failure(
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    status: int,
    said: str,
) -> None:
    version = versions()[-1]
    put(machine / f"versions/{version}.0/bin/python", f"cpython {version}")
    suite = put(machine / "environment/python", "")
    suite.write_text(f"#!/bin/sh\n{code}\n")

    def made(version: str, python: Path) -> Path:
        return suite

    monkeypatch.setattr(other_versions, "_environment", made)

    assert main(["-x"]) == status
    assert f"Python {version}: {said}\n" in capsys.readouterr().out


def test_the_quick_tier_is_mypy_and_some_of_the_tests(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    version = versions()[-1]
    put(machine / f"versions/{version}.0/bin/python", f"cpython {version}")
    echo = put(machine / "environment/python", "")
    echo.write_text('#!/bin/sh\necho "ran: $*"\n[ "$2" = pytest ]\n')

    def made(version: str, python: Path) -> Path:
        return echo

    monkeypatch.setattr(other_versions, "_environment", made)

    assert main(["--quick", "-x"]) == 1

    said = capfd.readouterr().out
    assert f"ran: -m mypy --python-version {version}\nran: -m pytest tests -k not postgres " in said
    assert " -x\n" in said
    assert said.endswith(f"\nPython {version}: FAILED (1, 0)\n")


def test_what_the_quick_tier_leaves_out_is_there() -> None:
    assert [name for name in other_versions.LEFT_OUT if not list((other_versions.ROOT / "tests").glob(name))] == []


def test_an_environment_that_cannot_be_made_is_a_failure(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    version = versions()[-1]
    broken = put(machine / f"versions/{version}.0/bin/python", "")
    broken.write_text(f"#!/bin/sh\n[ $1 = -c ] && echo cpython {version}\n")

    assert main([]) == 1

    told = f"Python {version}: FAILED: no environment, since this failed: {broken} -m venv --clear "
    assert told in capfd.readouterr().out


def test_all_versions_but_our_own_are_looked_for() -> None:
    own = "{}.{}".format(*sys.version_info)

    assert own not in versions()
    assert {*versions(), own} >= {"3.11", "3.12", "3.13", "3.14"}
