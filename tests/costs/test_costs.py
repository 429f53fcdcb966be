"""What each workload costs a store, in statements and rows. A guard that needs no quiet machine, as all is exact.

When a number changes, the test fails with the lines that differ, old and new, and the new table. Put that here if the
change is meant, and say in the commit why.
"""

import sys
from pathlib import Path
from typing import Final

import pytest

from rexecutor.testing import FakeClock
from tests.costs.ground import Costs, Ground
from tests.costs.postgres import postgres_ground
from tests.costs.sqlite import sqlite_ground
from tests.costs.table import changes, table_of
from tests.costs.workloads import WORKLOADS, Workload

# A line is what all jobs of a workload cost together.
#   statements   sent to the store, BEGIN and COMMIT included
#   trips        how often a response is waited for
#   commits      of transactions; a statement outside of one is a transaction
#   stored_jobs  and other tables: rows inserted (+), updated (~) and deleted (-). On SQLite, + includes what an upsert
#                changes.
#   HOT          how many of the updates of `stored_jobs` add no entry to any index
POSTGRES: Final = """
workload              jobs  statements  trips  commits  stored_jobs   HOT  queue          running      others
enqueue one by one    1000        1000   1000     1000  +1000              +1000
enqueue 16 at once    1000         126    126      126  +1000              +1000
enqueue 500 at once   1000           4      4        4  +1000              +1000
enqueue in bulk       1000           1      1        1  +1000              +1000
enqueue_sync           100         100    100      100  +100               +100
enqueue unique         100         600    600      100  +100               +100                        scopes +100
unique: existing       100         700    700      100                                                 scopes ~100
unique: replacing      100         800    800      100  ~100          100  ~100                        scopes ~100
drain by 100          1000          20     20       20  ~1000        1000  -1000          +1000 -1000  ended +10
drain by 1000         1000           2      2        2  ~1000        1000  -1000          +1000 -1000  ended +1
drain with results    1000           2      2        2  ~1000         942  -1000          +1000 -1000  ended +1
drain, 1 % fail once  1000          54     54       24  ~1010         999  +10 ~10 -1010  +1010 -1010  ended +11
drain, due later      1000          22     22       22  ~1000        1000  ~1000 -1000    +1000 -1000  ended +10
give back at a stop   1000           1      1        1  ~1000        1000  +1000          -1000
release a lost claim  1000           7      7        1  ~1000        1000  +1000          -1000        nodes ~1
rescue                1000           1      1        1  ~1000         532  +1000          -1000        nodes +1 -1
cancel                 100         600    600      100  ~100           60  -100                        ended +100
cancel while running   100         600    600      100  ~100          100                 ~100
cancel at once        1000           4      4        1  ~1000         648  -1000                       ended +1
update                 100         600    600      100  ~100          100  ~100
update at once        1000           4      4        1  ~1000        1000  ~1000
rerun                  100         600    600      100  ~100            4  +100                        ended ~99 -1
rerun at once         1000           4      4        1  ~1000         350  +1000                       ended -1
prune by age          1000           1      1        1  -1000                                          ended -10
prune by number       1000           1      1        1  -1000                                          ended -10
a minute idle                       72     72       72                                                 nodes ~12
"""

SQLITE: Final = """
workload              jobs  statements  commits  stored_jobs  queue          running      others
enqueue one by one    1000        8000     1000  +1000        +1000
enqueue 16 at once    1000        5378      126  +1000        +1000
enqueue 500 at once   1000        5012        4  +1000        +1000
enqueue in bulk       1000        1007        1  +1000        +1000
enqueue_sync           100         800      100  +100         +100
enqueue unique         100         900      100  +100         +100
unique: existing       100         600      100
unique: replacing      100        1100      100  ~100         +100
drain by 100          1000         190       20  ~1000        -1000          +1000 -1000
drain by 1000         1000          19        2  ~1000        -1000          +1000 -1000
drain with results    1000          26        2  ~1000        -1000          +1000 -1000
drain, 1 % fail once  1000         270       22  ~1010        +10 ~10 -1010  +1010 -1010
drain, due later      1000         190       20  ~1000        ~1000 -1000    +1000 -1000
give back at a stop   1000        6004        1  ~1000        +1000          -1000
release a lost claim  1000        5007        1  ~1000        +1000          -1000        nodes ~1
rescue                1000        5009        1  ~1000        +1000          -1000        nodes +1 -1
cancel                 100        1100      100  ~100         -100
cancel while running   100        1000      100  ~100                        ~100
cancel at once        1000        5006        1  ~1000        -1000
update                 100         900      100  ~100         +100
update at once        1000        5006        1  ~1000        +1000
rerun                  100        1100      100  ~100         +100
rerun at once         1000        5006        1  ~1000        +1000
prune by age          1000          21        2  -1000
prune by number       1000          22        2  -1000
a minute idle                      576       72                                           nodes ~12
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="libpq traces messages only on Linux")


@on_linux
async def test_no_workload_costs_postgres_another_number_of_statements_or_rows(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with postgres_ground(tmp_path, clock) as ground:
        found = await costs_of_all(ground)

    expect(POSTGRES, found)


async def test_no_workload_costs_sqlite_another_number_of_statements_or_rows(tmp_path: Path, clock: FakeClock) -> None:
    async with sqlite_ground(tmp_path, clock) as ground:
        found = await costs_of_all(ground)

    expect(SQLITE, found)


@on_linux
async def test_with_an_index_on_the_status_no_update_is_hot(tmp_path: Path, clock: FakeClock) -> None:
    async with postgres_ground(tmp_path, clock) as ground:
        ground.execute(f"CREATE INDEX ON {ground.schema}.stored_jobs (status)")

        costs = await costs_of(ground, WORKLOADS["drain by 100"][1], 100)

    assert (costs.rows["stored_jobs"].updated, costs.rows["stored_jobs"].hot) == (100, 0)


def expect(table: str, found: dict[str, tuple[int, Costs]]) -> None:
    """Fail, with both tables, if what was found is not in the table."""
    expected, made = table.strip(), table_of(found)
    if made != expected:
        pytest.fail(changes(expected, made), pytrace=False)


async def costs_of_all(ground: Ground) -> dict[str, tuple[int, Costs]]:
    """Return what each workload costs on connections that have done everything before."""
    for _, workload in WORKLOADS.values():
        await costs_of(ground, workload, 10)
    return {name: (jobs, await costs_of(ground, workload, jobs)) for name, (jobs, workload) in WORKLOADS.items()}


async def costs_of(ground: Ground, workload: Workload, jobs: int) -> Costs:
    """Return what the workload costs on an empty store, without its preparations."""
    await ground.clear()
    steps = workload(ground, jobs)
    await anext(steps)
    await ground.taken()
    await anext(steps, None)
    return await ground.taken()
