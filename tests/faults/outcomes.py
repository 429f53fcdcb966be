"""What the store itself saw of jobs that stopped to run: a trigger notes each, whatever the library thinks."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from tests.faults.rows import rows_of

_TABLE: Final = "CREATE TABLE {}seen (id bigint, claims bigint, status text, losses integer)"
_CONDITION: Final = "old.node IS NOT NULL AND new.node IS NULL OR old.status IN ('complete', 'cancelled', 'discarded')"
_RAN: Final = "new.claims > old.claims OR old.status IN ('complete', 'cancelled', 'discarded')"
_NOTE: Final = "INSERT INTO {}seen VALUES (new.id, new.claims, new.status, new.losses - old.losses);"
_STORED: Final = "old.claims <> new.claims OR old.status IN ('complete', 'cancelled', 'discarded')"
"""PostgreSQL's rows of jobs get the number of a claim at its end."""
_POSTGRES: Final = (
    f"CREATE FUNCTION {{}}see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_NOTE} RETURN NULL; END $$",
    f"CREATE TRIGGER see AFTER UPDATE ON {{}}stored_jobs FOR EACH ROW WHEN ({_STORED}) EXECUTE FUNCTION {{}}see()",
)
_SQLITE: Final = (f"CREATE TRIGGER see AFTER UPDATE ON {{}}stored_jobs WHEN {_RAN} BEGIN {_NOTE} END",)


@dataclass(frozen=True, slots=True)
class Seen:
    """How one claim stopped to run."""

    job_id: int
    claims: int
    status: str
    is_rescue: bool
    """Whether its node was lost, and others ended it."""


def watch(store: str) -> None:
    """Note from now on how claims stop to run, and each change of a job that has ended. The tables must be there."""
    for text in (_TABLE, *(_POSTGRES if "#" in store else _SQLITE)):
        rows_of(store, text)


def seen(store: str) -> list[Seen]:
    """Return what was noted."""
    rows = rows_of(store, "SELECT id, claims, status, losses FROM {}seen")
    return [Seen(job_id, claims, status, losses > 0) for job_id, claims, status, losses in rows]


def doubled(found: list[Seen]) -> int:
    """Return how many claims have more than one outcome."""
    return sum(number > 1 for number in Counter((one.job_id, one.claims) for one in found).values())
