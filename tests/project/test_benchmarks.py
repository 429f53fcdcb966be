"""The benchmarks run: a statement that changes must not leave its bare counterpart behind."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_hundredth_of_the_benchmarks_gives_all_figures(store: str) -> None:
    command = (sys.executable, "-m", "benchmarks", store, "--rounds", "1", "--scale", "0.01")

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)

    assert answer.returncode == 0, answer.stderr
    assert "drain of 200" in answer.stdout
    assert "pickup by another process" in answer.stdout
