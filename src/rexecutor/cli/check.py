"""`rexecutor check`: whether new code can run the jobs that wait."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rexecutor.cli.output import counted_jobs, write_json, write_line, write_table
from rexecutor.cli.progress import progress
from rexecutor.cli.store import APP_VARIABLE, Address, AsJson, Store, use_app
from rexecutor.cli.values import check_texts, note_unknown
from rexecutor.errors import DecodeError
from rexecutor.model.status import OPEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend
    from rexecutor.jobs.executor import AnyExecutor
    from rexecutor.model.job import JobId, JobRecord, Limits

EXAMPLES: Final = 5
"""How many ids of jobs with the same problem are named."""
REASONS: Final = 20
"""How many reasons are listed for an executor. A reason may hold a value of the job, and differ from job to job."""
_PAGE: Final = 1_000


@dataclass(slots=True)
class Problem:
    """Jobs of one executor that would fail for one reason."""

    jobs: int = 0
    ids: "list[JobId]" = field(default_factory=list[int])
    """The first of them."""


@dataclass(slots=True)
class Findings:
    """What a check has found so far."""

    place: str
    """The store."""
    checked: int = 0
    unreadable: dict[tuple[str, str], Problem] = field(default_factory=dict[tuple[str, str], Problem])
    """Executor and reason → the jobs whose attempts would fail."""
    unknown: Counter[str] = field(default_factory=Counter[str])
    """Executors that the application does not have → number of their jobs."""
    _reasons: Counter[str] = field(default_factory=Counter[str])

    @property
    def failing(self) -> int:
        """How many jobs would fail."""
        return sum(problem.jobs for problem in self.unreadable.values())

    def add(
        self, records: "Iterable[JobRecord]", executors: "Mapping[str, type[AnyExecutor]]", limits: "Limits"
    ) -> None:
        """Check these jobs, each with the executor of its name."""
        from rexecutor.jobs.types import codecs_of, decode  # loads msgspec

        for record in records:
            self.checked += 1
            executor_cls = executors.get(record.executor)
            if executor_cls is None:
                self.unknown[record.executor] += 1
                continue
            try:
                decode(codecs_of(executor_cls, limits), record)
            except DecodeError as error:
                problem = self._problem(record.executor, str(error))
                problem.jobs += 1
                if len(problem.ids) < EXAMPLES:
                    problem.ids.append(record.id)

    def _problem(self, executor: str, reason: str) -> Problem:
        """Return the jobs of the executor that would fail for this reason, or for one of many others."""
        if (executor, reason) not in self.unreadable:
            self._reasons[executor] += 1
            if self._reasons[executor] > REASONS:
                reason = "other reasons"
        return self.unreadable.setdefault((executor, reason), Problem())


def check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:REXECUTOR]",
            help=f"The application, as `worker` takes it: the new code; {APP_VARIABLE} by default.",
        ),
    ] = None,
    *,
    excepted: Annotated[
        list[str] | None,
        typer.Option(
            "--except", metavar="NAME", help="Not of this executor, which another application runs; may be repeated."
        ),
    ] = None,
    address: Address,
    json: AsJson = False,
) -> None:
    """Check before a deploy that the new code can run the jobs that wait or run now.

    Decodes the data and metadata of each with the types of the new code, and lists those whose attempts would fail, and
    the executors that the application does not have. If there are any, the exit status is 1. Nothing is changed.

    The store is that of --url; otherwise, if MODULE:REXECUTOR is given, that of the application; otherwise as for the
    other commands. The answer names it.
    """

    async def look(backend: "Backend", rexecutor: "Rexecutor") -> Findings:
        from rexecutor.model.where import ExecutorIn, StatusIn  # loads msgspec

        executors = {name: type(executor) for name, executor in rexecutor.executors.items()}
        left_out = check_texts("--except", excepted or ())
        await note_unknown(backend, left_out)
        where = StatusIn(OPEN) & ~ExecutorIn(left_out)
        found, after = Findings(backend.place), 0
        total = sum(count.jobs for count in await backend.count(where))
        with progress("checking", total) as advance:
            while page := await backend.query(where, limit=_PAGE, after=after):
                found.add(page, executors, backend.limits)
                after = page[-1].id
                advance(len(page))
        return found

    store = Store(url=address.url, schema=address.schema, app=target)
    found = use_app(store, look, advice="give MODULE:REXECUTOR")
    if json:
        write_json(_as_json(found))
    else:
        _write(found)
    if found.unreadable or found.unknown:
        raise typer.Exit(1)


def _as_json(found: Findings) -> dict[str, Any]:
    return {
        "store": found.place,
        "checked": found.checked,
        "failing": [
            {"executor": executor, "error": error, "jobs": problem.jobs, "ids": problem.ids}
            for (executor, error), problem in sorted(found.unreadable.items())
        ],
        "unknown": dict(sorted(found.unknown.items())),
    }


def _write(found: Findings) -> None:
    if found.unreadable:
        rows = [
            (executor, str(problem.jobs), _listed(problem), error)
            for (executor, error), problem in sorted(found.unreadable.items())
        ]
        write_table(("executor", "jobs", "ids", "error"), rows)
    for executor, jobs in sorted(found.unknown.items()):
        write_line(f"{counted_jobs(jobs)} of {executor}: the application has no such executor")
    if not found.checked:
        write_line(f"no job to check in {found.place}")
    elif not (found.unreadable or found.unknown):
        all_jobs = "the only job" if found.checked == 1 else f"all {found.checked:,} jobs"
        write_line(f"{all_jobs} in {found.place} can run")
    else:
        failing, unknown, checked = found.failing, sum(found.unknown.values()), counted_jobs(found.checked)
        write_line(f"of {checked} in {found.place}, {failing:,} would fail and {unknown:,} would not be run")


def _listed(problem: Problem) -> str:
    ids = ", ".join(map(str, problem.ids))
    return ids if problem.jobs <= len(problem.ids) else f"{ids}, …"
