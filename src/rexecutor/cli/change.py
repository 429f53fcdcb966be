"""Changes of one job, of several, or of all that match filters: asked about first, and made in batches."""

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, TypeVar

import typer

from rexecutor.cli.failure import FailedError, MisusedError, note, printable
from rexecutor.cli.filters import Filters
from rexecutor.cli.output import as_json, counted_jobs, write_json, write_line
from rexecutor.cli.progress import progress
from rexecutor.cli.store import Store, use_app, use_store
from rexecutor.cli.values import note_unknown
from rexecutor.errors import JobNotFoundError
from rexecutor.model.status import OPEN, JobStatus

if TYPE_CHECKING:
    from rexecutor.app.rexecutor import Rexecutor
    from rexecutor.backend.base import Backend
    from rexecutor.backend.messages import Count
    from rexecutor.model.job import JobId, JobRecord
    from rexecutor.model.where import Where

T = TypeVar("T")

Apply: TypeAlias = "Callable[[Collection[JobId], Where | None], Awaitable[Mapping[JobId, JobStatus]]]"
"""Changes a batch of jobs; returns the new status of each job that was changed."""

Check: TypeAlias = "Callable[[Rexecutor, Collection[str]], None]"
"""Raises a `MisusedError` if jobs of these executors must not be changed so."""

NameCheck: TypeAlias = Callable[[Collection[str]], None]
"""Such a check with the application's own, or one that checks nothing if no application is given."""

MAX_ID: Final = 2**63 - 1
MOST_NAMED: Final = 20
"""How many jobs of those that were given by their ids are named one by one."""

Ids: TypeAlias = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", max=MAX_ID, help="Ids of jobs; or use filters.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The options on how many jobs are changed."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, whatever the number of jobs.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; print how many jobs would be changed.")
    ] = False
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_ID, help="With filters: at most this many jobs, in order of id."),
    ] = None


@dataclass(frozen=True, slots=True)
class Change:
    """What is done with jobs."""

    verb: str
    """Such as `cancel`."""
    participle: str
    """Such as `cancelled`, after "can be"."""
    done: str
    """What is said of jobs that were changed, such as `cancelled`."""
    statuses: frozenset[JobStatus]
    """The statuses in which jobs can be changed so."""
    prepare: "Callable[[Backend], Apply]"
    """Checks that the store can hold the change, and returns what makes it."""
    executing: str
    """What is said of a job that executes, after "job 7 is"."""
    several_executing: str
    """What is said of several, after "3 of them"."""
    is_update: bool = False
    """Whether fields are changed: only of jobs whose row can be read, and --json prints the whole job if it is one."""
    check: "Check | None" = None
    """Called before jobs are changed, if the application is given; None if there is nothing to check."""


@dataclass(slots=True)
class Outcome:
    """What has become of jobs that were given by their ids."""

    changed: "dict[JobId, JobStatus]"
    left: "dict[JobId, JobRecord]"
    """Jobs that could not be changed."""
    missing: "list[JobId]"
    after: "JobRecord | None" = None
    """The job, if there is one and it is to be shown."""


def change_jobs(
    change: Change, ids: Sequence[int] | None, filters: Filters, asking: Asking, store: Store, *, json: bool
) -> None:
    """Change the jobs with these ids, or those that match the filters, and print what was done.

    Raises:
        MisusedError: Neither ids nor filters are given, or both; or there is nobody to be asked.
        FailedError: Some of the jobs that were given by ids could not be changed.
    """
    if ids and not filters.is_empty:
        advice = "; to replace data, metadata or tags, use --set-data, --set-metadata or --set-tag"
        raise MisusedError("ids and filters cannot be used together" + (advice if change.is_update else ""))
    if ids and asking.limit is not None:
        raise MisusedError("--limit goes with filters, and ids are given")
    if not ids and filters.is_empty:
        raise MisusedError(f"no job given: give ids, or a filter such as --executor email, to {change.verb} jobs")
    if ids:
        wanted = list(dict.fromkeys(ids))
        outcome = _run(
            store,
            change,
            lambda backend, check: _change_ids(backend, change, wanted, check, is_dry=asking.dry_run),
        )
        _write_outcome(change, wanted, outcome, is_dry=asking.dry_run, json=json)
        return
    _check_statuses(change, filters)
    where = filters.where()

    async def act(backend: "Backend", check: NameCheck) -> dict[str, Any]:
        await note_unknown(backend, filters.executor or ())
        return await _change_matching(backend, change, where, asking, check)

    done = _run(store, change, act)
    if json:
        write_json(done)
    elif asking.dry_run:
        write_line(f"would {change.verb} {_described(done['executors'], asking.limit)}")
    else:
        executing = f"; {done['executing']:,} of them {change.several_executing}" if done["executing"] else ""
        write_line(f"{change.done} {counted_jobs(done['changed'])}{executing}")


def _run(
    store: Store,
    change: Change,
    action: "Callable[[Backend, NameCheck], Awaitable[T]]",
) -> T:
    """Open the store and act on it, with what checks the change of jobs of some executors."""
    check = change.check
    if check is None or store.resolved().app is None:
        return use_store(store, lambda backend: action(backend, lambda _: None))
    return use_app(store, lambda backend, rexecutor: action(backend, lambda names: check(rexecutor, names)))


def _check_statuses(change: Change, filters: Filters) -> None:
    """Tell of each status to filter by in which no job can be changed so.

    Raises:
        MisusedError: There is no other.
    """
    useless = [status for status in filters.status or () if status not in change.statuses]
    if not useless:
        return
    *first, last = (str(status) for status in JobStatus if status in change.statuses)
    able = f"only {', '.join(first)} or {last} jobs can be {change.participle}"
    if len(useless) == len(filters.status or ()):
        raise MisusedError(f"{' '.join(f'--status {status}' for status in useless)}: {able}")
    for status in useless:
        note(f"--status {status} matches nothing: {able}")


async def _change_matching(
    backend: "Backend",
    change: Change,
    where: "Where",
    asking: Asking,
    check: NameCheck,
) -> dict[str, Any]:
    from rexecutor.backend.messages import MOST_CHANGED  # loads msgspec
    from rexecutor.model.where import StatusIn

    apply = change.prepare(backend)
    where &= StatusIn(change.statuses)
    counts = await backend.count(where)
    executors = _executors(counts)
    limit = MAX_ID if asking.limit is None else asking.limit
    total = min(sum(executors.values()), limit)
    check(executors)
    if asking.dry_run:
        return {"jobs": total, "executors": executors}
    if total and not asking.yes:
        _ask(change, _described(executors, asking.limit))
    newest = await backend.query_ids(where, limit=1, newest=True)
    changed, executing, asked, after = 0, 0, 0, None
    with progress(change.verb, total) as advance, _told(change, lambda: (changed, asked)):
        while newest and changed < limit:
            page = await backend.query_ids(where, limit=min(MOST_CHANGED, limit - changed), after=after)
            ids = [each for each in page if each <= newest[0]]  # later jobs were not among those that were counted
            if not ids:
                break
            asked = len(ids)
            statuses = await apply(ids, where)
            asked = 0
            changed += len(statuses)
            executing += sum(status is JobStatus.EXECUTING for status in statuses.values())
            after = ids[-1]
            advance(len(ids))
    return {"changed": changed, "executing": executing}


@contextmanager
def _told(change: Change, changed: Callable[[], tuple[int, int]]) -> Generator[None]:
    """If the block is interrupted or fails, say how many jobs were changed by then.

    `changed` returns that, and how many the store was asked to change without having answered yet.
    """
    try:
        yield
    except BaseException:
        known, asked = changed()
        perhaps = f", and perhaps {asked:,} more" if asked else ""
        note(f"stopped: {change.done} {counted_jobs(known)} by then{perhaps}")
        raise


def _ask(change: Change, what: str) -> None:
    """Ask whether these jobs are to be changed. Return if they are.

    Raises:
        MisusedError: Nobody can be asked.
        FailedError: They are not.
    """
    if not sys.stdin.isatty():
        raise MisusedError(f"would {change.verb} {what}, and nobody can be asked here: add --yes, or --dry-run")
    if not typer.confirm(printable(f"{change.verb} {what}?"), err=True):
        raise FailedError("nothing was changed")


async def _change_ids(
    backend: "Backend",
    change: Change,
    ids: "Sequence[JobId]",
    check: NameCheck,
    *,
    is_dry: bool,
) -> Outcome:
    from rexecutor.backend.messages import MOST_CHANGED  # loads msgspec
    from rexecutor.model.where import IdIn

    apply, outcome = change.prepare(backend), Outcome({}, {}, [])
    asked = 0
    several = len(ids) > MOST_CHANGED and not is_dry
    told = _told(change, lambda: (len(outcome.changed), asked)) if several else nullcontext()
    with progress(change.verb, len(ids)) as advance, told:
        for start in range(0, len(ids), MOST_CHANGED):
            batch = ids[start : start + MOST_CHANGED]
            found = {each.id: each for each in await backend.query(IdIn(frozenset(batch)), limit=len(batch))}
            can = [each for each, record in found.items() if _concerns(change, record)]
            check({found[each].executor for each in can})
            if is_dry:
                outcome.changed |= {each: found[each].status for each in can}
            elif can:
                asked = len(can)
                outcome.changed |= await apply(can, None)
                asked = 0
            outcome.left |= {each: record for each, record in found.items() if each not in outcome.changed}
            outcome.missing += [each for each in batch if each not in found]
            advance(len(batch))
    if change.is_update and len(ids) == 1 and outcome.changed and not is_dry:
        [outcome.after] = await backend.query(IdIn(frozenset(ids)), limit=1)
    return outcome


def _write_outcome(change: Change, ids: "Sequence[JobId]", outcome: Outcome, *, is_dry: bool, json: bool) -> None:
    problems = [_left(change, record) for record in outcome.left.values()]
    if len(ids) == 1 and (problems or outcome.missing):
        if outcome.missing:
            raise JobNotFoundError.of(ids[0])
        raise FailedError(problems[0])
    if json:
        write_json(_as_json(ids, outcome, is_dry=is_dry))
    elif is_dry:
        write_line(f"would {change.verb} {counted_jobs(len(outcome.changed))}")
    elif len(outcome.changed) <= MOST_NAMED:
        for job_id, status in sorted(outcome.changed.items()):
            write_line(f"job {job_id} is {change.executing if status is JobStatus.EXECUTING else change.done}")
    else:
        write_line(f"{change.done} {counted_jobs(len(outcome.changed))}")
    if problems or outcome.missing:
        several = [*problems, *(str(JobNotFoundError.of(job_id)) for job_id in outcome.missing)]
        more = "" if len(several) == 1 else f"; {several[1]}" if len(several) == 2 else f"; {len(several) - 1} more"  # noqa: PLR2004
        raise FailedError(f"{len(several)} of {counted_jobs(len(ids))} could not be {change.done}: {several[0]}{more}")


def _as_json(ids: "Sequence[JobId]", outcome: Outcome, *, is_dry: bool) -> dict[str, Any]:
    if is_dry:
        return {"jobs": len(outcome.changed)}
    if outcome.after is not None:
        return as_json(outcome.after)
    if len(ids) == 1:
        return {"id": ids[0], "status": outcome.changed[ids[0]]}
    return {
        "changed": [{"id": job_id, "status": status} for job_id, status in sorted(outcome.changed.items())],
        "unchanged": [{"id": job_id, "status": record.status} for job_id, record in sorted(outcome.left.items())],
        "missing": outcome.missing,
    }


def _concerns(change: Change, record: "JobRecord") -> bool:
    return record.status in change.statuses and (record.defect is None or not change.is_update)


def _left(change: Change, record: "JobRecord") -> str:
    """Return why a job was not changed."""
    job = f"job {record.id} ({record.executor})"
    if record.status in change.statuses:
        return f"{job} cannot be changed: {record.defect or 'it changed at the same moment; try again'}"
    if change.statuses == OPEN:
        return f"{job} has already ended: it is {record.status}"
    return f"{job} has not ended: it is {record.status}"


def _executors(counts: "Sequence[Count]") -> dict[str, int]:
    found: Counter[str] = Counter()
    for count in counts:
        found[count.executor] += count.jobs
    return dict(found.most_common())


def _described(executors: Mapping[str, int], limit: int | None) -> str:
    """Return how many jobs are changed, and of which executors those are that match."""
    total = sum(executors.values())
    some = "" if limit is None or limit >= total else f"{limit:,} of "
    return f"{some}{counted_jobs(total)}{_by_executor(executors)}"


def _by_executor(executors: Mapping[str, int]) -> str:
    named = ", ".join(f"{name} {jobs:,}" for name, jobs in list(executors.items())[:5])
    more = f", {len(executors) - 5} more executors" if len(executors) > 5 else ""  # noqa: PLR2004 - as above
    return f" ({named}{more})" if executors else ""
