"""What is installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", str(ROOT)]
    subprocess.run([*command, "--wheel-dir", str(folder)], check=True, timeout=100, capture_output=True)
    (wheel,) = folder.glob("rexecutor-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_statements_the_migrations_and_the_types_marker(names: set[str]) -> None:
    source = ROOT / "src"
    expected = {str(path.relative_to(source)) for path in source.rglob("*.sql")} | {"rexecutor/py.typed"}
    assert len(expected) > 10
    assert expected <= names


def test_the_wheel_holds_the_package_and_nothing_of_the_demo(names: set[str]) -> None:
    folders = {name.partition("/")[0].partition("-")[0] for name in names}

    assert folders == {"rexecutor"}
    assert [name for name in names if "demo" in name] == []
