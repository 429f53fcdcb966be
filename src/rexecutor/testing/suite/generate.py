"""Hypothesis strategies of the model: jobs, demands, outcomes, expressions, schedules and more."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from rexecutor.backend.messages import EVERY_EXECUTOR, Demand
from rexecutor.model.codec import canonical
from rexecutor.model.cron import Cron
from rexecutor.model.job import ErrorKind, JobError, NewJob
from rexecutor.model.outcomes import (
    CancelAsked,
    Cancelled,
    Complete,
    Discarded,
    Expired,
    Failed,
    FieldUpdate,
    Interrupted,
    Rerun,
    Snooze,
)
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import CatchUp, Schedule
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import Field, Replace, UniquenessCriteria
from rexecutor.model.where import (
    And,
    DataAt,
    DataEquals,
    ErrorIs,
    Everything,
    ExecutorIn,
    IdIn,
    Inserted,
    KeyIs,
    MetadataEquals,
    Not,
    Or,
    Scheduled,
    StatusIn,
    TaggedByAllOf,
    TaggedByOneOf,
    Where,
)
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import new_job

_EXECUTORS: Final = ("alpha", "beta", "gamma")
_NODES: Final = ("node-1", "node-2", "node-3")

# Few round values, so that moments coincide: jobs due together, due as a lease ends, or due right now.
_SPANS: Final = (
    *(timedelta(seconds=seconds) for seconds in (0, 1, 5, 10, 30)),
    timedelta(microseconds=1),
    timedelta(minutes=7, microseconds=123_457),
)

LONG_LEASE: Final = timedelta(seconds=30)

# Texts that every store can hold. NUL and lone surrogates never reach a store: they are refused or replaced before.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
spans = st.sampled_from(_SPANS)
steps = st.sampled_from(_SPANS[1:])
small_steps = st.sampled_from([timedelta(microseconds=1), timedelta(seconds=1)])
executors = st.sampled_from(_EXECUTORS)
pausable = st.sampled_from((*_EXECUTORS, EVERY_EXECUTOR))
node_ids = st.sampled_from(_NODES)
leases = st.sampled_from([timedelta(seconds=10), LONG_LEASE])
mostly = st.sampled_from([True, True, True, False])
picks = st.integers(0, 30)
fences = st.sampled_from([0, 0, 0, -1, 1, 2**40])
"""Number to add to a job's `claims`: 0 gives the current claim, -1 a stale one, the others forged ones."""

tags = st.lists(st.sampled_from(["a", "b", "a'b", "100 %", "_"]) | texts.filter(bool), max_size=3, unique=True)
_DATA: Final = ("null", '"text"', '{"n": [1, 2.50]}', '{"n":[1.0,25e-1]}', '"\\u00e9 \' \\""')
_METADATA: Final = (None, None, "null", '{"by": "me"}')

_plain_jobs = st.builds(
    new_job,
    executors,
    data=st.sampled_from(_DATA),
    metadata=st.sampled_from(_METADATA),
    max_attempts=st.sampled_from([1, 1, 2, 3, 32_767]),
    priority=st.sampled_from([0, 0, 1, 2, 32_767]),
    tags=tags.map(tuple),
    scheduled_at=st.none() | st.none() | spans.map(lambda span: START + span),
    delay=st.sampled_from(_SPANS[:1] * 6 + _SPANS[1:]),
)


def _expiring(job: NewJob, expiry: datetime | timedelta) -> NewJob:
    return replace(job, **{"expires_at" if isinstance(expiry, datetime) else "expires_in": expiry})


def _with_headers(job: NewJob, headers: str) -> NewJob:
    return replace(job, headers=headers)


_some_jobs = _plain_jobs | st.builds(_with_headers, _plain_jobs, st.sampled_from(['{"a":"b"}', '{"ž":"\\""}']))
new_jobs = _plain_jobs | _some_jobs | st.builds(_expiring, _some_jobs, spans | spans.map(lambda span: START + span))

batches = st.lists(new_jobs, min_size=1, max_size=8) | st.just([])
_KEYS: Final = tuple(UniquenessCriteria.by_key(key).key or "" for key in ("a", "b", 1))
_FIELDS: Final[tuple[Field, ...]] = ("priority", "data", "metadata", "scheduled_at", "max_attempts")
_STATUSES: Final = st.frozensets(st.sampled_from(JobStatus), min_size=1)

replacements = st.builds(
    Replace, st.frozensets(st.sampled_from(_FIELDS), min_size=1), _STATUSES | st.just(frozenset(JobStatus))
)
criteria = st.builds(
    UniquenessCriteria,
    is_by_executor=st.booleans(),
    key=st.none() | st.sampled_from(_KEYS),
    window=st.none() | st.none() | spans,
    chosen_statuses=st.none() | st.none() | _STATUSES,
    replacement=st.none() | replacements,
)


def _with_criteria(job: NewJob, unique: UniquenessCriteria | None) -> NewJob:
    return replace(job, unique=unique)


unique_batches = st.lists(
    st.builds(_with_criteria, new_jobs, st.none() | criteria | criteria),
    min_size=1,
    max_size=5,
)

demands = st.builds(
    Demand,
    st.dictionaries(st.sampled_from((*_EXECUTORS, "nobody")), st.integers(1, 6), min_size=2),
    st.integers(1, 8),
)

EVERYTHING_DUE: Final = Demand(dict.fromkeys(_EXECUTORS, 100), 100)

errors = st.builds(
    JobError,
    st.integers(0, 5),
    st.sampled_from(ErrorKind),
    texts,
    texts,
    spans.map(lambda span: START + span),
)

outcomes = (
    st.builds(Complete, st.none() | st.sampled_from(_DATA))
    | st.builds(Cancelled, errors)
    | st.builds(Snooze, spans)
    | st.builds(Failed, errors, spans)
    | st.builds(Discarded, errors)
    | st.builds(Expired)
    | st.builds(Interrupted)
)

results = st.tuples(st.none(), st.none(), st.none()) | st.tuples(*[st.none() | st.sampled_from(_DATA)] * 3)
"""Three results, often none."""

parts = st.lists(st.tuples(picks, fences, outcomes), max_size=6)
"""Settlements as tuples: which job to pick, the number to add to its `claims`, and the outcome."""

_SCHEDULES: Final = (
    Schedule("a", Cron("*/10 * * * * *"), UTC, new_job("alpha"), CatchUp.ALL),
    Schedule("b", Cron("5,7 * * * * *"), UTC, new_job("beta", priority=1), CatchUp.LATEST, timedelta(seconds=5)),
    Schedule(
        "c",
        Cron("0 * * * * *"),
        UTC,
        new_job("gamma", tags=("a",), expires_in=timedelta(seconds=5)),
        CatchUp.SKIP,
        timedelta(minutes=5),
    ),
    Schedule("d", Cron("* * * * * *"), UTC, None, CatchUp.ALL, timedelta(seconds=3)),
    Schedule("e", Cron("0 0 * * * *"), UTC, new_job("alpha"), CatchUp.LATEST),
)
schedules = st.lists(st.sampled_from(_SCHEDULES), max_size=5, unique_by=lambda schedule: schedule.id)

prune_specs = st.builds(
    PruneSpec,
    st.sampled_from(JobStatus),
    st.builds(OlderThan, spans) | st.builds(BeyondNewest, st.integers(0, 3)),
    st.frozensets(executors, max_size=2),
    is_except=mostly,
)

_moments = spans | spans.map(lambda span: START + span)
_leaves: st.SearchStrategy[Where] = (
    st.builds(Everything)
    | st.builds(IdIn, st.frozensets(st.integers(-1, 40), max_size=5))
    | st.builds(StatusIn, st.frozensets(st.sampled_from(JobStatus), max_size=3))
    | st.builds(ExecutorIn, st.frozensets(executors, max_size=2))
    | st.builds(KeyIs, st.sampled_from(_KEYS))
    | st.builds(DataEquals, st.sampled_from(_DATA).map(canonical))
    | st.builds(MetadataEquals, st.sampled_from(_METADATA[1:]).map(lambda text: canonical(text or "null")))
    | st.builds(TaggedByOneOf, tags.map(frozenset))
    | st.builds(TaggedByAllOf, tags.map(frozenset))
    | st.builds(DataAt, st.sampled_from([("n",), ("n", "0"), ("n", "1")]), st.sampled_from(["1e0", "25e-1", '"text"']))
    | st.builds(ErrorIs, st.sampled_from(["Cancel", "NodeLost", "Expired", "ValueError"]), st.booleans())
    | st.builds(Inserted, after=st.none() | _moments, before=st.none() | _moments, ends_count=st.booleans())
    | st.builds(Scheduled, after=st.none() | _moments, before=st.none() | _moments, ends_count=st.booleans())
)


def _branches(parts: st.SearchStrategy[Where]) -> st.SearchStrategy[Where]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, parts)


def _sometimes(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(UNSET) | values


changes_of_many: st.SearchStrategy[CancelAsked | Rerun | FieldUpdate] = (
    st.builds(CancelAsked, texts)
    | st.builds(Rerun)
    | st.builds(
        FieldUpdate,
        data=_sometimes(st.sampled_from(_DATA)),
        metadata=_sometimes(st.sampled_from(_METADATA)),
        max_attempts=_sometimes(st.integers(1, 3)),
        priority=_sometimes(st.integers(0, 2)),
        tags=_sometimes(tags.map(tuple)),
        scheduled_at=_sometimes(spans.map(lambda span: START + span)),
    )
)

wheres: st.SearchStrategy[Where] = st.recursive(_leaves, _branches, max_leaves=8)
