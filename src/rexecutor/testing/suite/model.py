"""The model: a backend and `rules.py` are driven side by side through random lives, and must not differ."""

import asyncio
import os
import shutil
import tempfile
import unittest
from datetime import timedelta
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rexecutor import rules
from rexecutor.backend.base import Backend
from rexecutor.backend.exchange import Demand, Node
from rexecutor.errors import JobNotFoundError, JobStateError
from rexecutor.job import JobId, JobRecord, NewJob, NodeId
from rexecutor.outcome import (
    CancelAsked,
    Claimed,
    Complete,
    Interrupted,
    Lost,
    Outcome,
    Rerun,
    Settlement,
)
from rexecutor.status import JobStatus
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.suite import generate
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.mirror import Mirror
from rexecutor.where import Everything, Where

EXAMPLES: Final = "REXECUTOR_MODEL_EXAMPLES"
"""The environment's name for how many lives are tried; 50 by default."""
STEPS: Final = "REXECUTOR_MODEL_STEPS"
"""The environment's name for how many steps a life has at most; 40 by default."""

_ALL: Final = 1_000_000


def model_of(suite: type[Cases]) -> type[unittest.TestCase]:
    """Answer a test case that drives the suite's backend; pytest and unittest run it.

    ```python
    class TestMyBackend(BackendSuite): ...

    TestMyModel = model_of(TestMyBackend)
    ```

    It tries 50 lives of at most 40 steps; `REXECUTOR_MODEL_EXAMPLES` and `REXECUTOR_MODEL_STEPS` change that.
    """
    cases = suite()

    class Model(BackendModel):
        def open_backend(self, clock: FakeClock, store: Path) -> Backend:
            return cases.open_backend(clock, store)

    case = Model.TestCase
    case.settings = settings(
        max_examples=int(os.environ.get(EXAMPLES, "50")),
        stateful_step_count=int(os.environ.get(STEPS, "40")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    case.__name__ = case.__qualname__ = f"{suite.__name__}Model"
    return case


class BackendModel(RuleBasedStateMachine):
    """A backend beside a dict of records that only `rules` change. Made by `model_of`.

    After every step each record of the backend equals the dict's in every field; a claim starts at most once (I3), a
    claim has at most one outcome and an ended job changes only by a rerun (I4), and every record is coherent (I6).
    """

    def open_backend(self, clock: FakeClock, store: Path) -> Backend:
        """Answer a new backend that runs on the clock and keeps its jobs in the folder, not open yet."""
        raise NotImplementedError

    def __init__(self) -> None:
        """Begin with an empty store."""
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp(prefix="rexecutor-model-"))
        self._clock = FakeClock()
        self._backend = self.open_backend(self._clock, self._folder)
        self._runner.run(self._backend.open())
        self._heart = self._backend.heart()
        self._mirror = Mirror(self._clock, self._backend.limits)

    def teardown(self) -> None:
        """Close everything."""
        self._heart.close()
        self._runner.run(self._backend.close())
        self._runner.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @initialize(jobs=st.lists(generate.new_jobs, min_size=4, max_size=8))
    def begin(self, jobs: list[NewJob]) -> None:
        """Begin with something to do."""
        self.enqueue(jobs)

    @rule(jobs=generate.batches)
    def enqueue(self, jobs: list[NewJob]) -> None:
        """Enqueue some jobs, or none."""
        answers = self._runner.run(self._backend.enqueue(jobs))

        ids = [answer.id for answer in answers]
        assert len(ids) == len(jobs)
        assert ids == sorted(set(ids)), "ids grow"
        assert not ids or ids[0] > max(self._mirror.records, default=0), "ids are never used twice"
        for job_id, job in zip(ids, jobs, strict=True):
            self._mirror.records[job_id] = rules.inserted(job, job_id, self._clock.now())

    @rule(demand=generate.demands, node_id=generate.node_ids, beats=generate.mostly)
    def claim(self, demand: Demand, node_id: NodeId, *, beats: bool) -> None:
        """Claim as a node that lives, or perhaps does not."""
        if beats:
            self.beat(node_id, generate.LONG_LEASE)
        claim = self._runner.run(self._backend.claim(demand, node_id))

        now = self._clock.now()
        expected: list[JobRecord] = []
        if self._mirror.lives(node_id):
            for executor, slots in demand.slots.items():
                queue = sorted(self._mirror.waiting(executor), key=rules.claim_order)
                expected += rules.claimable(queue, now, slots)
            expected = sorted(expected, key=rules.claim_order)[: demand.most]
        assert list(claim.jobs) == [self._mirror.change(record, Claimed(node_id)) for record in expected]
        for job in claim.jobs:
            self._mirror.start(job)
        if self._mirror.lives(node_id) and len(expected) < demand.most:
            self._mirror.check_next_due(claim.next_due)

    @precondition(lambda self: self._mirror.records)
    @rule(parts=generate.parts)
    def settle(self, parts: list[tuple[int, int, Outcome]]) -> None:
        """Settle with claims that are ours, stale or forged, also of jobs that never were."""
        settlements: list[Settlement] = []
        for pick, fence, outcome in parts:
            record = self._mirror.pick(pick, JobStatus.EXECUTING if pick < 20 else None)
            settlements.append(Settlement(record.id, record.claims + fence, outcome))
        settlements += [Settlement(max(self._mirror.records) + 1, 1, outcome) for _, _, outcome in parts[:1]]
        refused = self._runner.run(self._backend.settle(settlements))

        expected: list[JobId] = []
        for settlement in settlements:
            record = self._mirror.records.get(settlement.job_id)
            if record is None or not rules.is_ours(record, settlement.claims):
                expected.append(settlement.job_id)
            else:
                self._mirror.end(record, settlement.outcome)
        assert sorted(refused) == sorted(expected)

    @precondition(lambda self: self._mirror.executing())
    @rule(share=st.floats(0, 1), outcome=generate.outcomes)
    def settle_a_whole_batch(self, share: float, outcome: Outcome) -> None:
        """Settle many at once, as a busy worker does: most of them done."""
        running = self._mirror.executing()
        done = int(len(running) * share)
        settlements = [
            Settlement(record.id, record.claims, Complete() if number < done else outcome)
            for number, record in enumerate(running)
        ]
        refused = self._runner.run(self._backend.settle(settlements))

        assert list(refused) == []
        for record, settlement in zip(running, settlements, strict=True):
            self._mirror.end(record, settlement.outcome)

    @precondition(lambda self: self._mirror.waiting())
    @rule(node_id=generate.node_ids, parts=generate.parts)
    def work(self, node_id: NodeId, parts: list[tuple[int, int, Outcome]]) -> None:
        """Do what a node does all the time: claim whatever is due, settle some of it."""
        self.claim(generate.EVERYTHING_DUE, node_id, beats=True)
        self.settle(parts)

    @rule(node_id=generate.node_ids, lease=generate.leases)
    def beat(self, node_id: NodeId, lease: timedelta) -> None:
        """Renew a lease, which rescues the jobs of nodes that have none."""
        heartbeat = self._heart.beat(Node(node_id, f"host:{node_id}", lease))

        self._mirror.renew(node_id, lease)
        lost = [record for record in self._mirror.executing() if not self._mirror.lives(record.node)]
        for record in lost:
            self._mirror.end(record, Lost())
        assert heartbeat.rescued == len(lost)
        assert sorted((asked.job_id, asked.claims, asked.reason) for asked in heartbeat.cancels) == [
            (record.id, record.claims, record.cancel_reason)
            for record in self._mirror.executing()
            if record.node == node_id and record.cancel_reason is not None
        ]

    @rule(node_id=generate.node_ids)
    def retire(self, node_id: NodeId) -> None:
        """End a lease."""
        self._heart.retire(node_id)

        self._mirror.leases.pop(node_id, None)

    @rule(node_id=generate.node_ids, held=st.lists(generate.picks, max_size=3))
    def give_back(self, node_id: NodeId, held: list[int]) -> None:
        """Undo claims whose answer was lost."""
        claims = {self._mirror.pick(pick, JobStatus.EXECUTING).claim_id for pick in held if self._mirror.records}
        given_back = self._runner.run(self._backend.give_back(node_id, claims))

        mine = [
            record for record in self._mirror.executing() if record.node == node_id and record.claim_id not in claims
        ]
        for record in mine:
            self._mirror.end(record, Interrupted())
        assert given_back == len(mine)

    @precondition(lambda self: self._mirror.records)
    @rule(pick=generate.picks, status=st.sampled_from(JobStatus), reason=generate.texts)
    def cancel(self, pick: int, status: JobStatus, reason: str) -> None:
        """Cancel a job, whatever its status."""
        record = self._mirror.pick(pick, status)
        answer = self._runner.run(self._backend.cancel(record.id, reason))

        assert answer is self._mirror.change(record, CancelAsked(reason)).status

    @precondition(lambda self: self._mirror.records)
    @rule(pick=generate.picks, status=st.sampled_from(JobStatus))
    def rerun(self, pick: int, status: JobStatus) -> None:
        """Rerun a job, whatever its status."""
        record = self._mirror.pick(pick, status)
        try:
            self._runner.run(self._backend.rerun(record.id, executor=record.executor))
        except JobStateError:
            assert not record.status.has_ended
        else:
            self._mirror.change(record, Rerun())

    @precondition(lambda self: self._mirror.records)
    @rule(pick=generate.picks)
    def cancel_and_rerun_another_executors_job(self, pick: int) -> None:
        """Ask for changes in the name of an executor whose job it is not."""
        record = self._mirror.pick(pick)
        for change in (
            self._backend.cancel(record.id, "no", executor="nobody"),
            self._backend.rerun(record.id, executor="nobody"),
        ):
            try:
                self._runner.run(change)
            except JobNotFoundError:
                continue
            raise AssertionError(f"job {record.id} was found as another executor's")

    @rule(step=generate.steps)
    def advance(self, step: timedelta) -> None:
        """Let time pass: jobs fall due, leases run out."""
        self._clock.advance(step)
        self._mirror.note_time()

    @rule(step=generate.small_steps)
    def set_the_clock_back(self, step: timedelta) -> None:
        """Set the wall clock back a little, as a time server may."""
        self._clock.jump(-step)

    @rule(where=generate.wheres, limit=st.integers(1, 10), pick=st.none() | generate.picks)
    def query(self, where: Where, limit: int, pick: int | None) -> None:
        """Ask for a page of whatever jobs."""
        after = self._mirror.pick(pick).id if pick is not None and self._mirror.records else None
        found = self._runner.run(self._backend.query(where, limit=limit, after=after))

        expected = [
            record
            for record in self._mirror.records.values()
            if (after is None or record.id > after) and rules.matches(where, record, self._clock.now())
        ]
        assert list(found) == expected[:limit]

    @invariant()
    def every_record_is_the_models(self) -> None:
        """Compare all records, field by field."""
        found = self._runner.run(self._backend.query(Everything(), limit=_ALL))

        assert list(found) == list(self._mirror.records.values())

    @invariant()
    def the_counts_are_the_models(self) -> None:
        """Compare the counts."""
        counts = self._runner.run(self._backend.count())

        expected: dict[tuple[str, JobStatus], int] = {}
        for record in self._mirror.records.values():
            key = (record.executor, record.status)
            expected[key] = expected.get(key, 0) + 1
        assert [((count.executor, count.status), count.jobs) for count in counts] == sorted(expected.items())

    @invariant()
    def every_record_is_coherent(self) -> None:
        """Check what holds of a record in each status (I6)."""
        self._mirror.check_coherence()
