"""What a job store means, as pure functions: the executable specification.

`InMemoryBackend` runs these; the SQL of the other backends is checked against them by one suite and one model.
"""

from rexecutor.rules.life import (
    LOST_DETAILS,
    apart,
    claim_order,
    claimable,
    due_at,
    inserted,
    is_ours,
    transition,
    updated,
)
from rexecutor.rules.matching import matches, moment_of
from rexecutor.rules.pruning import prunable
from rexecutor.rules.ticking import MOST_TICKS, Ticks, looked_at, ticks_due
from rexecutor.rules.unique import conflicting, existing, replaced

__all__ = [
    "LOST_DETAILS",
    "MOST_TICKS",
    "Ticks",
    "apart",
    "claim_order",
    "claimable",
    "conflicting",
    "due_at",
    "existing",
    "inserted",
    "is_ours",
    "looked_at",
    "matches",
    "moment_of",
    "prunable",
    "replaced",
    "ticks_due",
    "transition",
    "updated",
]
