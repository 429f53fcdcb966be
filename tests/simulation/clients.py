"""Those who enqueue, cancel, rerun and update, over lines as bad as those of the nodes."""

import dataclasses
from datetime import timedelta
from typing import Any, Final

from rexecutor import (
    BackendError,
    JobBuilder,
    JobNotFoundError,
    JobStateError,
    StaleJobError,
    UniquenessCriteria,
    Where,
    enqueue_many,
)
from rexecutor.model.job import JobId
from tests.simulation.clock import NodeClock
from tests.simulation.link import LinkedBackend
from tests.simulation.loop import Domain
from tests.simulation.settings import World
from tests.simulation.workload import KINDS, Keyed, Told, Windowed

_ACTS: Final = ("ok", "ok", "ok", "ok", "fail", "snooze", "cancel", "swallow")


class Client:
    """One process that uses the jobs' API."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.domain = Domain(f"client {number}")
        self.chance = world.chance("client", number)
        self.clock = NodeClock(world.loop, timedelta(seconds=self.chance.uniform(-5, 5)))
        self.line = world.line("client line", number)
        self.backend = LinkedBackend(world.store, world.loop, self.clock, self.line, self.domain)
        self._known: list[tuple[type[Told], JobId]] = []

    async def work(self, until: float) -> None:
        """Do one thing after the other."""
        loop = self.world.loop
        while loop.time() < until:
            await loop.sleep(self.chance.expovariate(1.0))
            act = self.chance.choices([self._enqueue, self._batch, self._meddle], [8, 2, 3])[0]
            try:
                await act()
            except BackendError:
                self.world.counts["unknown_answers"] += 1
            except (JobNotFoundError, JobStateError, StaleJobError):
                self.world.counts["refusals"] += 1

    async def _enqueue(self) -> None:
        builder = self._builder()
        handle = await builder.enqueue(backend=self.backend)
        self._acknowledge([(builder.executor, handle.id)])

    async def _batch(self) -> None:
        builders = [self._builder() for _ in range(self.chance.randrange(2, 12))]
        handles = await enqueue_many(builders, backend=self.backend)
        self._acknowledge([(builder.executor, handle.id) for builder, handle in zip(builders, handles, strict=True)])

    async def _meddle(self) -> None:
        if not self._known:
            return
        kind, job_id = self.chance.choice(self._known[-20:])
        match self.chance.randrange(4):
            case 0 | 1:
                await kind.cancel_job(job_id, "no longer wanted", backend=self.backend)
            case 2:
                await kind.rerun_job(job_id, backend=self.backend)
            case _:
                for job in await kind.query_jobs(Where.id_equals(job_id), backend=self.backend):
                    await kind.update_job(dataclasses.replace(job, priority=7), backend=self.backend)

    def _builder(self) -> JobBuilder[str, None]:
        chance = self.chance
        kind: Any = chance.choice(KINDS)
        builder: JobBuilder[str, None] = kind.builder().with_data(self._acts()).with_priority(chance.randrange(3))
        if kind is Keyed:
            builder = builder.unique(UniquenessCriteria.by_key(chance.randrange(3)).and_executor())
        if chance.random() < 0.3 and kind is not Windowed:
            builder = builder.with_tags("slow")
        if chance.random() < 0.15:
            builder = builder.expires_in(timedelta(seconds=chance.uniform(0.1, 15)))
        if chance.random() < 0.25:
            builder = builder.schedule_in(timedelta(seconds=chance.uniform(0, 20)))
            if isinstance(builder.expiry, timedelta):  # two delays are compared, and this one may be the shorter
                builder = builder.expires_at(self.clock.now() + builder.expiry)
        elif chance.random() < 0.1:
            builder = builder.schedule_at(self.clock.now() + timedelta(seconds=chance.uniform(-10, 20)))
        return builder

    def _acts(self) -> str:
        """Return what the first runs do. All later ones end well."""
        chance = self.chance
        lengths = [0.0, 0.0, 0.1, 1.0, 3.0, 10.0]
        acts = [
            f"{chance.choice(_ACTS)} {chance.choice(lengths) * chance.random():.3f}" for _ in range(chance.randrange(4))
        ]
        return "|".join([*acts, "ok 0.1"])

    def _acknowledge(self, jobs: list[tuple[type[Any], JobId]]) -> None:
        self._known += jobs
        self.world.checker.acknowledged.update(job_id for _, job_id in jobs)
