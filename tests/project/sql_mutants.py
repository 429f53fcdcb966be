"""Mutants of SQLite's statements for claim, settle and rescue: `python -m tests.project.sql_mutants`.

Each changes one word of one statement in a copy of the package, and runs the suite on it. A mutant that no test
notices has survived. Prints the survivors, and one JSON line.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.processes import ROOT

STATEMENTS = (
    "begin_lease",
    "ask_cancel",
    "complete_jobs",
    "delete_dead_nodes",
    "delete_orphans",
    "dequeue_jobs",
    "promote_jobs",
    "queue_jobs",
    "renew_lease",
    "requeue_job",
    "select_cancels",
    "select_due_executors",
    "select_due_jobs",
    "select_lease",
    "select_next_due",
    "select_orphans",
    "select_running",
    "select_started",
    "start_jobs",
    "stop_jobs",
    "update_job",
)
TESTS = (
    "tests/backend/sqlite/test_suite.py",
    "tests/backend/sqlite/test_files.py",
    "tests/backend/sqlite/test_plans.py",
)

# What is written, and what takes its place.
CHANGES = (
    (r"<=", "<"),
    (r"(?<![<>])>(?![=>])", ">="),
    (r"(?<![<>=:])=(?!=)", "<>"),
    (r"\bAND\b", "OR"),
    (r"\+ 1\b", "+ 2"),
    (r"\b1\b(?=\))", "2"),
    (r"'executing'", "'scheduled'"),
    (r"'retryable'", "'discarded'"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bmin\b", "max"),
    (r"\bORDER BY priority, ", "ORDER BY "),
    (r"\bscheduled_at, id\b", "id"),
    (r"\bORDER BY [a-z_, ]+\n", "\n"),
    (r"\bLIMIT :\w+", "LIMIT 1"),
    (r"= NULL\b", "= 'x'"),
    (r"\bdue = 0\b", "due = due"),
)


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """Yield what was changed, and the changed text. Comments stay as they are."""
    for pattern, other in CHANGES:
        for found in re.finditer(pattern, text):
            line = text.rfind("\n", 0, found.start()) + 1
            if text[line:].lstrip().startswith("--"):
                continue
            changed = text[: found.start()] + other + text[found.end() :]
            where = f"line {text.count(chr(10), 0, found.start()) + 1}: {found.group()!r} to {other!r}"
            yield where, changed


def survives(folder: Path) -> bool:
    """Whether all tests pass with the package in the folder."""
    command = (sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", *TESTS)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=300)
    return done.returncode == 0


def main() -> None:
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", default="0/1", help="which part: 0/2 and 1/2 run beside each other")
    part, parts = (int(number) for number in parser.parse_args().share.split("/"))
    killed, survivors = 0, list[str]()
    with tempfile.TemporaryDirectory(prefix="rexecutor-mutants-") as folder:
        shutil.copytree(ROOT / "src", folder, dirs_exist_ok=True)
        sql = Path(folder) / "rexecutor" / "backend" / "sqlite" / "sql"
        everything = [
            (name, where, changed)
            for name in STATEMENTS
            for where, changed in mutants((sql / f"{name}.sql").read_text())
        ]
        for name, where, changed in everything[part::parts]:
            path = sql / f"{name}.sql"
            sound = path.read_text()
            path.write_text(changed)
            if survives(Path(folder)):
                survivors.append(f"{name}, {where}")
                print(survivors[-1], flush=True)  # noqa: T201
            else:
                killed += 1
            path.write_text(sound)
    print(json.dumps({"mutants": killed + len(survivors), "killed": killed, "survived": len(survivors)}))  # noqa: T201


if __name__ == "__main__":
    main()
