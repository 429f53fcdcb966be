"""What the model is made of: Hypothesis strategies for jobs, demands, outcomes and expressions."""

from datetime import timedelta
from typing import Final

from hypothesis import strategies as st

from rexecutor.backend.exchange import Demand
from rexecutor.job import ErrorKind, JobError
from rexecutor.outcome import Cancelled, Complete, Failed, Interrupted, Snooze
from rexecutor.status import JobStatus
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import new_job
from rexecutor.where import And, Everything, ExecutorIn, IdIn, Not, Or, StatusIn, Where

_EXECUTORS: Final = ("alpha", "beta", "gamma")
_NODES: Final = ("node-1", "node-2", "node-3")

# Few and round, so that moments meet: due together, due as a lease ends, due just now.
_SPANS: Final = (
    *(timedelta(seconds=seconds) for seconds in (0, 1, 5, 10, 30)),
    timedelta(microseconds=1),
    timedelta(minutes=7, microseconds=123_457),
)

LONG_LEASE: Final = timedelta(seconds=30)

# What every store can hold: no NUL and no lone surrogate, which are refused or cleaned before it.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
spans = st.sampled_from(_SPANS)
steps = st.sampled_from(_SPANS[1:])
small_steps = st.sampled_from([timedelta(microseconds=1), timedelta(seconds=1)])
executors = st.sampled_from(_EXECUTORS)
node_ids = st.sampled_from(_NODES)
leases = st.sampled_from([timedelta(seconds=10), LONG_LEASE])
mostly = st.sampled_from([True, True, True, False])
picks = st.integers(0, 30)
fences = st.sampled_from([0, 0, 0, -1, 1, 2**40])
"""What is added to a job's claims: 0 is ours, -1 stale, the rest forged."""

new_jobs = st.builds(
    new_job,
    executors,
    data=st.sampled_from(["null", '"text"', '{"n": [1, 2.50]}', '"\\u00e9 \' \\""']),
    metadata=st.sampled_from([None, None, "null", '{"by": "me"}']),
    max_attempts=st.sampled_from([1, 1, 2, 3, 32_767]),
    priority=st.sampled_from([0, 0, 1, 2, 32_767]),
    tags=st.lists(texts.filter(bool), max_size=3, unique=True).map(tuple),
    scheduled_at=st.none() | st.none() | spans.map(lambda span: START + span),
    delay=st.sampled_from(_SPANS[:1] * 6 + _SPANS[1:]),
)

batches = st.lists(new_jobs, min_size=1, max_size=8) | st.just([])
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
    st.builds(Complete)
    | st.builds(Cancelled, errors)
    | st.builds(Snooze, spans)
    | st.builds(Failed, errors, spans)
    | st.builds(Interrupted)
)

parts = st.lists(st.tuples(picks, fences, outcomes), max_size=6)
"""Settlements: which job, what is added to its claims, and how it ended."""

_leaves: st.SearchStrategy[Where] = (
    st.builds(Everything)
    | st.builds(IdIn, st.frozensets(st.integers(-1, 40), max_size=5))
    | st.builds(StatusIn, st.frozensets(st.sampled_from(JobStatus), max_size=3))
    | st.builds(ExecutorIn, st.frozensets(executors, max_size=2))
)


def _branches(parts: st.SearchStrategy[Where]) -> st.SearchStrategy[Where]:
    several = st.lists(parts, max_size=3).map(tuple)
    return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, parts)


wheres: st.SearchStrategy[Where] = st.recursive(_leaves, _branches, max_leaves=8)
