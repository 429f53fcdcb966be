"""S34: backends and applications used after a fork, in another loop, and after their end."""

import asyncio
import json

from tests.faults.child_processes import Child, Children, child_processes
from tests.faults.manual_sql import ManualSql
from tests.faults.programs.lifetimes import CASES
from tests.faults.scenario import Ground, Report, Scenario

SECONDS = 60
"""How long one case may take, with all that hangs in it."""
WORKS, CLEAR = "works", "clear"

REFUSED = (
    "fork, enqueue",
    "fork, enqueue globally",
    "fork, shut down",
    "fork, start",
    "spawn, the parent's backend as an argument",
    "closed, enqueue",
    "closed, wait",
    "closed, count",
    "closed, cancel",
    "closed, a heartbeat connection",
    "app, start twice",
)
"""What must be an error of ours, with a word of what is wrong."""
REFUSED_ON_SQLITE = ("fork, enqueue_sync", "fork, a backend of its own", "fork, an application of its own")
"""What must be such an error on SQLite, which works in no such child, and work on PostgreSQL."""
EITHER = ("fork, a heartbeat connection", "fork, close", "second loop, ", "dead loop, ")
"""What must be such an error or work: a store without a loop of its own may well serve a second one."""


async def run(ground: Ground) -> Report:
    """Let a process of its own come to each case; compare what came of it with what must."""
    report = Report(figures={"outcomes": {}})
    async with child_processes(ground.folder) as programs:
        await asyncio.gather(*(do(report, ground, programs, name) for name in CASES))
    answers: dict[str, str] = report.figures["outcomes"]
    is_sqlite = not ground.store.startswith("postgresql:")
    for what, answer in answers.items():
        report.expect(f"{what}: {answer}", is_right(what, answer, is_sqlite=is_sqlite))
    report.figures["cases"] = len(answers)
    with ManualSql(ground.store) as manual_sql:
        left = manual_sql.run("SELECT count(*) FROM {jobs} WHERE status NOT IN ('complete', 'scheduled')")[0][0]
        report.expect(f"{left} jobs have failed", left == 0)
    return report


async def do(report: Report, ground: Ground, programs: Children, name: str) -> None:
    """Do one case; note its results, and whether it ends."""
    child = await programs.start("-m", "tests.faults.programs.lifetimes", ground.store, name)
    try:
        async with asyncio.timeout(SECONDS):
            status = await child.process.wait()
    except TimeoutError:
        status = None
    answers = answers_of(child)
    report.figures["outcomes"] |= answers
    report.expect(f"{name} ends with {status}: {child.said()[-300:]}", status == 0)
    report.expect(f"{name} answers", bool(answers))


def answers_of(child: Child) -> dict[str, str]:
    """Return what it has printed about its cases."""
    answers: dict[str, str] = {}
    for line in child.said().splitlines():
        if line.startswith('{"'):
            answers |= json.loads(line)
    return dict(sorted(answers.items()))


def is_right(what: str, answer: str, *, is_sqlite: bool) -> bool:
    """Whether that may come of it."""
    kind = answer.partition(":")[0]
    if what.startswith(EITHER) and "; " not in what:
        return kind in (WORKS, CLEAR)
    is_refused = what in REFUSED or (is_sqlite and what in REFUSED_ON_SQLITE)
    return kind == (CLEAR if is_refused else WORKS) or answer == "not installed"


SCENARIO = Scenario("S34", "used after a fork, in another loop, after the end", ("Trust",), run)
