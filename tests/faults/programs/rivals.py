"""Clients that do everything at once: `python -m tests.faults.programs.rivals STORE HISTORY SECONDS SEED CLIENTS`.

What they claim and what outcomes of theirs are recorded stands in the history; at the end it prints one line of JSON:
how often they did what, what was refused as it should be, and all errors that nobody expected.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rexecutor import (
    Executor,
    Job,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    Replace,
    Snooze,
    StaleJobError,
    UniquenessCriteria,
    Where,
    enqueue_many,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.clock import unique_id
from rexecutor.model.job import ErrorKind, JobError, JobId, JobRecord
from rexecutor.model.outcomes import COMPLETE, Cancelled, Failed, Interrupted, Outcome, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.where import Everything, IdIn
from rexecutor.testing.suite.store import new_job
from tests.faults.history import History
from tests.faults.stores import backend_at

AT_ONCE: Final = timedelta(0)
LEASE: Final = timedelta(seconds=1.5)
"""Half of it is what a beat may take, on however busy a machine."""
ENDED: Final = (JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED)
REPLACED: Final = Replace.priority().and_data().for_statuses(JobStatus.SCHEDULED, JobStatus.EXECUTING)
REFUSALS: Final = (JobNotFoundError, JobStateError, StaleJobError)
"""What somebody who comes too late is told."""


class Disputed(Executor[int]):
    name = "disputed"
    max_attempts = 3

    async def execute(self, job: Job[int]) -> None:
        raise AssertionError("never runs: the clients claim for themselves")


class Client:
    """One of them, with a handle of its own on the store, and leases that it lets run out."""

    def __init__(self, store: str, history: History, seed: int) -> None:
        self.backend = backend_at(store, connections=3)
        self.done: Counter[str] = Counter()
        self._history = history
        self._chance = random.Random(seed)
        self._thread = ThreadPoolExecutor(1)
        self._node = Node(unique_id(), "rival", LEASE)
        self._held: list[JobRecord] = []

    async def work(self, seconds: float) -> None:
        """Do one thing after the other."""
        acts: tuple[Callable[[], Awaitable[None]], ...] = (
            *(
                self.enqueue,
                self.claim,
                self.claim,
                self.claim,
                self.settle,
                self.settle,
                self.heartbeat,
                self.heartbeat,
            ),
            *(self.cancel, self.rerun, self.update, self.prune, self.look, self.release_claims, self.die, self.contend),
        )
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        async with self.backend:
            self._heartbeats = self.backend.heartbeat_connection()
            await self.enqueue()
            waiting = self._chance.sample(acts, len(acts))  # so that each is done, however slow the machine is
            while waiting or loop.time() < ends:
                act = waiting.pop() if waiting else self._chance.choice(acts)
                await self.tried(act())
                self.done[act.__name__] += 1
            await loop.run_in_executor(self._thread, self._heartbeats.close)
        self._thread.shutdown()

    async def tried(self, act: Awaitable[object]) -> None:
        """Await it; count what it raises."""
        try:
            await act
        except REFUSALS as error:
            self.done[f"refused: {type(error).__name__}"] += 1
        except Exception as error:  # noqa: BLE001 - that there is none is what is asked
            cause = type(error.__cause__).__name__ if error.__cause__ else ""
            self.done[f"error: {type(error).__name__} {cause} {str(error)[:100]}"] += 1

    async def enqueue(self) -> None:
        builder = Disputed.builder().with_data(self._chance.randrange(100))
        unique = UniquenessCriteria.by_key(self._chance.randrange(10)).on_conflict(REPLACED)
        await enqueue_many([*[builder] * 20, builder.unique(unique)], backend=self.backend)

    async def claim(self) -> None:
        claim = await self.backend.claim(Demand({Disputed.name: 20}, 20), self._node.id)
        if self._chance.random() < 0.2:  # as if the answer were lost: only `give_back` knows of these
            return
        for record in claim.jobs:
            self._history.write("claim", record.id, record.claims)
        self._held += claim.jobs

    async def settle(self) -> None:
        """Settle half of what is held, in any order, one perhaps twice."""
        self._chance.shuffle(self._held)
        count = (len(self._held) + 1) // 2
        chosen, self._held = self._held[:count], self._held[count:]
        settlements = [Settlement(one.id, one.claims, self._outcome(one)) for one in chosen]
        if settlements and self._chance.random() < 0.3:
            settlements.append(settlements[0])
        for one in settlements:
            self._history.write("sent", one.job_id, one.claims)
        refused = Counter(await self.backend.settle(settlements))
        self.done["refused while ours"] += await self._executing_under(settlements, refused)
        for one in sorted(settlements, key=lambda one: one.claims):  # an old claim of a job is refused before a new one
            if refused[one.job_id]:
                refused[one.job_id] -= 1
                self.done["refused: late outcome"] += 1
            else:
                self._history.write("settled", one.job_id, one.claims)

    async def contend(self) -> None:
        """Settle while others cancel and update the same jobs."""
        await self.claim()
        held = list(self._held)
        await asyncio.gather(self.settle(), *(self.tried(self._change(one)) for one in held))

    async def _change(self, job: JobRecord) -> None:
        if self._chance.random() < 0.5:
            await self.backend.cancel(job.id, "enough")
        else:
            await self.backend.update(
                job.id, new_job(job.executor, data=job.data, max_attempts=job.max_attempts), version=job.version
            )

    async def _executing_under(self, settlements: Iterable[Settlement], refused: Iterable[JobId]) -> int:
        """Return how many jobs still execute under a claim whose outcome was refused. It must be 0."""
        found = await self.backend.query(IdIn(frozenset(refused)) & Where.status_in(JobStatus.EXECUTING), limit=1_000)
        return len({one.claim_id for one in found} & {(one.job_id, one.claims) for one in settlements})

    def _outcome(self, record: JobRecord) -> Outcome:
        error = JobError(record.attempt, ErrorKind.EXCEPTION, "Disputed", "none", datetime.now(UTC))
        outcomes: tuple[Outcome, ...] = (
            COMPLETE,
            Failed(error, AT_ONCE),
            Cancelled(error),
            Snooze(AT_ONCE),
            Interrupted(),
        )
        return self._chance.choice(outcomes)

    async def heartbeat(self) -> None:
        """Renew the lease and rescue what others have let go."""
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._heartbeats.send, self._node)
        self.done["rescued"] += found.rescued

    async def die(self) -> None:
        """Be another node from now on, with jobs of the one before still in hand."""
        self._node = Node(unique_id(), "rival", LEASE)

    async def release_claims(self) -> None:
        held = {one.claim_id for one in self._held}
        self.done["given back"] += await self.backend.release_claims(self._node.id, held)

    async def cancel(self) -> None:
        await self._all(self.backend.cancel(one.id, "enough") for one in await self._some(Everything()))

    async def rerun(self) -> None:
        await self._all(self.backend.rerun(one.id) for one in await self._some(Where.status_in(*ENDED)))

    async def update(self) -> None:
        jobs = await Disputed.query_jobs(~Where.status_in(*ENDED), limit=20, backend=self.backend)
        changed = [replace(job, priority=self._chance.randrange(9), tags=("updated",)) for job in jobs]
        await self._all(Disputed.update_job(job, backend=self.backend) for job in changed)

    async def prune(self) -> None:
        what = self._chance.choice((OlderThan(timedelta(seconds=0.5)), BeyondNewest(50)))
        self.done["pruned"] += await self.backend.prune(PruneSpec(self._chance.choice(ENDED), what), 100)

    async def look(self) -> None:
        await self.backend.count()
        await self._some(Where.data_equals(self._chance.randrange(100)) | Where.tagged_by_one_of("updated"))

    async def _some(self, where: Where) -> list[JobRecord]:
        page = await self.backend.query(where, limit=200)
        return self._chance.sample(list(page), min(20, len(page)))

    async def _all(self, acts: Iterable[Awaitable[object]]) -> None:
        await asyncio.gather(*(self.tried(act) for act in acts))


async def main() -> None:
    """Let them work, and print what they did."""
    store, path, seconds, seed, number = sys.argv[1:]
    clients = [Client(store, History(Path(path)), int(seed) * 100 + place) for place in range(int(number))]
    await asyncio.gather(*(client.work(float(seconds)) for client in clients))
    print(json.dumps(sum((client.done for client in clients), Counter[str]())))


if __name__ == "__main__":
    asyncio.run(main())
