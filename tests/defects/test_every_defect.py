"""Where it is proved that each defect of the Rust original, R1 to R42, is not in this library.

The defects were found by reading `rexecutor` and `rexecutor-sqlx`. Each has tests that are named after it, such as
`test_r2_…`. They run on every backend: those of the suite because a backend subclasses it, the others by the
`backend` fixture. `PROOFS` says where to look; the test beneath it sees to it that it does not lie.

What is left for PostgreSQL, which has an issue of its own: R9 and R10 with `LISTEN` (here: SQLite's doorbell, and any
hint that fails), R23 for its plans, R24 for the session's time zone, R39 on the caller's connection, R41 for its
schema, R42 for its driver.
"""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from rexecutor.testing import BackendSuite

ROOT: Final = Path(__file__).parents[2]
SUITE: Final = "rexecutor.testing.BackendSuite"
LOSING: Final = "tests/defects/test_losing_jobs.py"
STOPPING: Final = "tests/defects/test_stopping_nodes.py"
RULES: Final = "tests/model/rules/test_*.py"
STORING: Final = "tests/defects/test_storing_jobs.py"

PROOFS: Final[dict[int, tuple[str, tuple[str, ...]]]] = {
    1: ("nobody rescues the jobs of a node that died", (LOSING,)),
    2: ("an outcome that is not recorded is only logged", (LOSING,)),
    3: ("outcomes and cancels have no fence", (LOSING, RULES)),
    4: ("a rerun of a running job", (LOSING, RULES, "tests/jobs/test_stored_jobs.py")),
    5: ("a job that does not decode executes for ever", (LOSING, "tests/jobs/test_executor.py")),
    6: ("a number out of range in one row stops the executor", (STOPPING, "tests/jobs/test_builder.py")),
    7: ("a backoff or a timeout that panics stops the executor", (STOPPING, "tests/model/test_backoff.py")),
    8: ("exponential backoff that does not grow, or is none", ("tests/model/test_backoff.py",)),
    9: ("the listener dies of what it hears, or of a lost connection", (STOPPING,)),
    10: ("listeners are kept for ever, and warn of strangers' jobs", (STOPPING,)),
    11: ("the key that is stored is not the one that is looked for", (SUITE,)),
    12: ("the lock of a uniqueness check depends on its statuses", (SUITE,)),
    13: ("check and insert are not one step", (SUITE,)),
    14: ("backends disagree about keys and windows", (SUITE,)),
    15: ("keys are short hashes that can be forged", (SUITE,)),
    16: ("each node enqueues each tick", ("tests/engine/test_schedules.py",)),
    17: ("missed ticks are lost, others repeated", ("tests/engine/test_schedules.py",)),
    18: ("two schedules double an executor's concurrency", ("tests/engine/test_schedules.py",)),
    19: ("a shutdown does not wait for running jobs", (LOSING,)),
    20: ("a claim in flight at the shutdown is lost", (LOSING,)),
    21: ("more jobs are claimed than can run", (STOPPING,)),
    22: ("one job a claim; a busy loop in an outage, or before a job of the future", (STOPPING,)),
    23: ("the claim sorts the backlog", (STORING,)),
    24: ("moments are off by the session's time zone", (STORING,)),
    25: ("jobs start early, by the client's clock", (STORING, "tests/jobs/test_builder.py")),
    26: ("`and` and `or` without parentheses", (RULES,)),
    27: ("several ids never match", (RULES,)),
    28: ("one bad row fails the whole query", ("tests/jobs/test_stored_jobs.py",)),
    29: ("pruning by length counts all executors together", (SUITE,)),
    30: ("running jobs are pruned, and by the wrong moment", ("tests/engine/test_pruning.py",)),
    31: ("every node prunes, all at once", ("tests/engine/test_pruning.py",)),
    32: ("fewer attempts than were had means endless retries", (LOSING, RULES, "tests/model/test_job.py")),
    33: ("a snooze is not counted, and may be negative", (LOSING, RULES)),
    34: ("ids end at 2,147,483,647", (STORING,)),
    35: ("backends disagree about order and updates", (RULES, "tests/jobs/test_stored_jobs.py")),
    36: ("an error's text cannot be recorded, or grows for ever", (STORING, RULES)),
    37: ("nothing tells of a slot that a hung thread holds", (STOPPING,)),
    38: ("a cancel reaches no running job, but another executor's", (LOSING, "tests/jobs/test_stored_jobs.py")),
    39: ("no batches", (STORING,)),
    40: ("an update from a stale copy wins", ("tests/jobs/test_stored_jobs.py",)),
    41: ("tables and migrations clash with the application's", (STORING,)),
    42: ("the driver's error is thrown away", (STORING,)),
}


@cache
def names_in(place: str) -> list[str]:
    """Answer the names of the tests of some files, or of the suite."""
    if place == SUITE:
        return [name for name in dir(BackendSuite) if name.startswith("test_")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.glob(place)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [function.name for function in functions if function.name.startswith("test_")]


@pytest.mark.parametrize("number", range(1, 43))
def test_each_defect_has_tests_that_are_named_after_it(number: int) -> None:
    _, places = PROOFS[number]

    named = {place: [name for name in names_in(place) if re.search(rf"_r{number}_", name)] for place in places}

    assert places
    assert all(named.values()), named
