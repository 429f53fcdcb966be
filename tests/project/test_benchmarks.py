"""The benchmarks of rexecutor and of the bare ceilings run, and tell what they have measured."""

import json
import subprocess
import sys
from array import array
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks import plots
from benchmarks.adapters.harness import HEAD
from benchmarks.record import Record, WrongRunsError
from benchmarks.report import Results
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("store", ["memory,sqlite", "postgres"])
def test_a_hundredth_of_the_benchmarks_gives_tables_plots_and_raw_figures(store: str, tmp_path: Path) -> None:
    ours = ",".join(name for name, system in SYSTEMS.items() if (system.ours or system.bare) and system.store in store)
    few = ("--systems", ours, "--here", "--strict", "--rounds", "1", "--scale", "0.01", "--out", str(tmp_path))
    command = (sys.executable, "-m", "benchmarks", "quick", "drain_2", *few)

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)

    assert answer.returncode == 0, answer.stderr + answer.stdout
    raw = json.loads((tmp_path / "raw.json").read_text())
    assert set(raw["systems"]) == set(ours.split(","))
    assert all(one["packages"]["msgspec"] for one in raw["systems"].values())
    assert raw["servers"][store.rsplit(",", maxsplit=1)[-1]]["version"]
    tables = (tmp_path / "tables.md").read_text()
    for workload, systems in raw["figures"].items():
        assert f"(`{workload}`)" in tables
        assert all(rounds[0][WORKLOADS[workload].main] > 0 for rounds in systems.values())
        ET.parse(tmp_path / f"{workload}.svg")  # noqa: S314 - our own


def written(folder: Path, name: str, cells: list[int]) -> None:
    (folder / name).write_bytes(array("q", cells).tobytes())


def test_a_job_that_two_processes_have_run_is_noticed(tmp_path: Path) -> None:
    assert HEAD == 2
    written(tmp_path, "runs-1", [2, 0, 11, 12, 0])
    written(tmp_path, "runs-2", [2, 0, 0, 13, 14])

    with pytest.raises(WrongRunsError, match="0 did not run, and 1 runs were not the first"):
        Record(tmp_path, "runs", 3).check(range(3))


def test_a_job_that_did_not_run_is_noticed(tmp_path: Path) -> None:
    written(tmp_path, "runs-1", [2, 0, 11, 0, 12])

    with pytest.raises(WrongRunsError, match="of 3 jobs 1 did not run"):
        Record(tmp_path, "runs", 3).check(range(3))


def test_a_table_has_the_median_the_ratio_to_ours_and_who_was_left_out() -> None:
    results = Results({})
    for ours, theirs in ((30.0, 11.0), (10.0, 9.0), (20.0, 10.0)):
        results.add("drain_1", "ours-postgres", {"jobs_per_s": ours})
        results.add("drain_1", "pgqueuer", {"jobs_per_s": theirs})
    results.leave_out("drain_1", "ardiq", "no Redis server is installed")

    table = results.table(WORKLOADS["drain_1"])

    assert "| pgqueuer      |       9.00 |   10.0 | 11.0 |      2.00 |" in table
    assert table.index("ours-postgres") < table.index("pgqueuer")
    assert table.endswith("- ardiq: no Redis server is installed")


def test_plots_are_well_formed(tmp_path: Path) -> None:
    results = Results({})
    results.add("steady", "ours-postgres", {"p50_ms": 2.0, "p99_ms_parts": [3.0, 40.0], "dead_rows_parts": [0.0, 9.0]})

    files = plots.draw(results, tmp_path)

    assert [file.name for file in files] == ["steady.svg", "steady-p99_ms.svg", "steady-dead_rows.svg"]
    for file in files:
        assert "ours-postgres" in "".join(ET.parse(file).getroot().itertext())  # noqa: S314 - as above
