"""An executor for tests of the stores, and a node that claims its jobs."""

from contextlib import closing
from datetime import timedelta

from rexecutor import Backend, Executor, Job
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord

NODE = Node("node", "node", timedelta(hours=1))


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


async def claimed(backend: Backend) -> list[JobRecord]:
    """Return what a node with a lease gets of the jobs that are due now."""
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.send(NODE)
    return list((await backend.claim(Demand({"mail": 100}, 100), NODE.id)).jobs)
