"""Model steps of producers and operators: enqueues, updates, cancels, reruns, pauses and queries."""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec.structs import replace

from rexecutor.backend.messages import NewPause
from rexecutor.errors import JobNotFoundError, JobStateError, StaleJobError
from rexecutor.model import rules
from rexecutor.model.job import Enqueued, NewJob
from rexecutor.model.outcomes import CancelAsked, FieldUpdate, Rerun
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where
from rexecutor.testing.suite import generate
from rexecutor.testing.suite.model_base import ModelBase


class ClientModel(ModelBase):
    """Steps that enqueue, change and query jobs."""

    @initialize(jobs=st.lists(generate.new_jobs, min_size=4, max_size=8))
    def begin(self, jobs: list[NewJob]) -> None:
        """Begin each run with a few jobs."""
        self.enqueue(jobs)

    @rule(jobs=generate.batches)
    def enqueue(self, jobs: list[NewJob]) -> None:
        """Enqueue a batch of jobs, which may be empty."""
        answers = self.run(self.backend.enqueue(jobs))

        self._note_enqueued(jobs, answers)

    @rule(jobs=generate.unique_batches)
    def enqueue_unique(self, jobs: list[NewJob]) -> None:
        """Enqueue unique jobs, which may conflict with existing ones."""
        answers = self.run(self.backend.enqueue(jobs))

        self._note_enqueued(jobs, answers)

    @precondition(lambda self: self.mirror.unique_jobs)
    @rule(pick=generate.picks, new=generate.new_jobs)
    def enqueue_the_like_of_an_earlier_one(self, pick: int, new: NewJob) -> None:
        """Enqueue a job with the executor and the criteria of an earlier one."""
        earlier = self.mirror.unique_jobs[pick % len(self.mirror.unique_jobs)]

        self.enqueue_unique([replace(new, executor=earlier.executor, unique=earlier.unique)])

    def _note_enqueued(self, jobs: Sequence[NewJob], answers: Sequence[Enqueued]) -> None:
        assert len(answers) == len(jobs)
        for job, answer in zip(jobs, answers, strict=True):
            assert answer == self.mirror.enqueue(job, answer.id)

    @precondition(lambda self: self.mirror.records)
    @rule(pick=generate.picks, status=st.sampled_from(JobStatus), new=generate.new_jobs, staleness=generate.fences)
    def update(self, pick: int, status: JobStatus, new: NewJob, staleness: int) -> None:
        """Update a job in any status, from a fresh or a stale copy."""
        record = self.mirror.pick(pick, status)
        new, version = replace(new, executor=record.executor), record.version + staleness
        try:
            answer = self.run(self.backend.update(record.id, new, version=version))
        except JobStateError:
            assert record.status.has_ended
        except StaleJobError:
            assert not record.status.has_ended
            assert staleness
        else:
            assert answer == self.mirror.rewrite(record, rules.updated(record, new, version, self.clock.now()))

    @precondition(lambda self: self.mirror.records)
    @rule(pick=generate.picks, status=st.sampled_from(JobStatus), reason=generate.texts)
    def cancel(self, pick: int, status: JobStatus, reason: str) -> None:
        """Cancel a job in any status."""
        record = self.mirror.pick(pick, status)
        answer = self.run(self.backend.cancel(record.id, reason))

        assert answer is self.mirror.change(record, CancelAsked(reason)).status

    @precondition(lambda self: self.mirror.records)
    @rule(pick=generate.picks, status=st.sampled_from(JobStatus))
    def rerun(self, pick: int, status: JobStatus) -> None:
        """Rerun a job in any status; only ended ones may be."""
        record = self.mirror.pick(pick, status)
        try:
            self.run(self.backend.rerun(record.id, executor=record.executor))
        except JobStateError:
            assert not record.status.has_ended
        else:
            self.mirror.change(record, Rerun())

    @precondition(lambda self: self.mirror.last_id)
    @rule(pick=generate.picks, new=generate.new_jobs)
    def change_another_executors_job_or_none(self, pick: int, new: NewJob) -> None:
        """Ask for changes of a job that does not exist, or under the name of an executor that does not own it."""
        ids = [*(record.id for record in self.mirror.records.values()), self.mirror.last_id + 1, *self.mirror.pruned]
        job_id = ids[pick % len(ids)]
        record = self.mirror.records.get(job_id)
        version = 0 if record is None else record.version
        for change in (
            self.backend.cancel(job_id, "no", executor="nobody"),
            self.backend.rerun(job_id, executor="nobody"),
            self.backend.update(job_id, replace(new, executor="nobody"), version=version),
        ):
            try:
                self.run(change)
            except JobNotFoundError:
                continue
            raise AssertionError(f"job {job_id} was found as another executor's")

    @rule(executor=generate.pausable, lasting=st.none() | generate.steps, reason=generate.texts)
    def pause(self, executor: str, lasting: timedelta | None, reason: str) -> None:
        """Pause an executor or all, perhaps anew."""
        stored = self.run(self.backend.pause(executor, reason, lasting=lasting))

        assert stored == self.mirror.pause(NewPause(executor, reason, lasting))

    @precondition(lambda self: self.mirror.pauses)
    @rule(pick=generate.picks, executor=st.none() | generate.pausable)
    def resume(self, pick: int, executor: str | None) -> None:
        """End a pause, of which there may be none."""
        names = sorted(self.mirror.pauses)
        name = executor or names[pick % len(names)]
        was_paused = name in {pause.executor for pause in self.mirror.pauses_in_force()}

        assert self.run(self.backend.resume(name)) == was_paused
        self.mirror.pauses.pop(name, None)

    @precondition(lambda self: self.mirror.last_id)
    @rule(
        picks=st.lists(generate.picks, max_size=6),
        change=generate.changes_of_many,
        where=st.none() | st.none() | generate.wheres,
    )
    def change_many(self, picks: list[int], change: CancelAsked | Rerun | FieldUpdate, where: Where | None) -> None:
        """Cancel, rerun or update several jobs, of which some do not match, do not exist or may not be changed."""
        known = [*self.mirror.records, self.mirror.last_id + 1, *self.mirror.pruned]
        ids = {known[pick % len(known)] for pick in picks}
        statuses = self.run(self.backend.apply_many(ids, change, where=where))

        now = self.clock.now()
        expected: dict[int, JobStatus] = {}
        for record in [self.mirror.records[job_id] for job_id in sorted(ids & self.mirror.records.keys())]:
            if where is None or rules.matches(where, record, now):
                changed = rules.changed(record, change, now, self.backend.limits)
                if changed is not None and isinstance(change, FieldUpdate):
                    expected[record.id] = self.mirror.rewrite(record, changed).status
                elif changed is not None and not isinstance(change, FieldUpdate):
                    expected[record.id] = self.mirror.change(record, change).status
        assert list(statuses.items()) == list(expected.items())

    @rule(where=generate.wheres, limit=st.integers(1, 10), pick=st.none() | generate.picks, newest=st.booleans())
    def query(self, where: Where, limit: int, pick: int | None, *, newest: bool) -> None:
        """Query one page with a random expression."""
        after = self.mirror.pick(pick).id if pick is not None and self.mirror.records else None
        found = self.run(self.backend.query(where, limit=limit, after=after, newest=newest))

        records = list(self.mirror.records.values())
        expected = [
            record
            for record in (reversed(records) if newest else records)
            if (after is None or (record.id < after if newest else record.id > after))
            and rules.matches(where, record, self.clock.now())
        ]
        assert list(found) == expected[:limit]
