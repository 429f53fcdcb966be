"""`rexecutor why`: why a job has not run."""

from typing import TYPE_CHECKING, Final

from rexecutor.cli.jobs import Id, find_job
from rexecutor.cli.output import write_json, write_line, write_text
from rexecutor.cli.store import AsJson, Store, use_store

if TYPE_CHECKING:
    from rexecutor.answers.why import Seen
    from rexecutor.backend.base import Backend

RETRIES: Final = 3
"""How often a job that changes meanwhile is looked at again."""


def why(job_id: Id, *, store: Store, json: AsJson = False) -> None:
    """Say why a job has not run yet, where it runs, or how it has ended."""
    from rexecutor.answers import why as answers  # loads msgspec

    async def look(backend: "Backend") -> "tuple[Seen, str | None]":
        seen = await _seen(backend, job_id)
        for _ in range(RETRIES):
            record = await find_job(backend, job_id)
            if (record.version, record.status) == (seen.record.version, seen.record.status):
                break
            seen = await _seen(backend, job_id)  # the job has changed while the rest was read
        advice = answers.why(seen).command
        return seen, None if advice is None else backend.command(advice)

    seen, command = use_store(store, look)
    answer, record = answers.why(seen), seen.record
    if json:
        write_json(
            {
                "id": record.id,
                "executor": record.executor,
                "status": record.status,
                "reason": answer.reason,
                "text": answer.text,
                "then": answer.then,
                "command": command,
            }
        )
        return
    write_text(f"job {record.id} ({record.executor}, {record.status}) {answer.text}")
    for text in answer.then:
        write_text(f"after that: {text}")
    if command is not None:
        write_line(f"{answers.PURPOSES[answer.reason]}: {command}")


async def _seen(backend: "Backend", job_id: int) -> "Seen":
    """Read all that the answer depends on."""
    from rexecutor.answers.why import Seen  # loads msgspec

    record = await find_job(backend, job_id)
    nodes, pauses, loads = await backend.nodes(), await backend.pauses(), await backend.load(record.executor)
    now = nodes[0].seen_at if nodes else backend.clock.now()
    load = next((load for load in loads if load.executor == record.executor), None)
    return Seen(record, now, pauses, nodes, load)
