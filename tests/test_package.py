"""What is installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_holds_the_statements_the_migrations_and_the_types_marker(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", str(ROOT)]
    subprocess.run([*command, "--wheel-dir", str(tmp_path)], check=True, timeout=100, capture_output=True)

    (wheel,) = tmp_path.glob("rexecutor-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    source = ROOT / "src"
    expected = {str(path.relative_to(source)) for path in source.rglob("*.sql")} | {"rexecutor/py.typed"}
    assert len(expected) > 10
    assert expected <= names
