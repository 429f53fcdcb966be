"""The rules of a job store as pure functions: the executable specification.

`InMemoryBackend` runs these. One suite and one model check the SQL of the other backends against them.
"""

from rexecutor.model.rules.life import (
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
from rexecutor.model.rules.matching import matches, moment_of
from rexecutor.model.rules.pruning import prunable
from rexecutor.model.rules.ticking import MOST_TICKS, Ticks, looked_at, ticks_due
from rexecutor.model.rules.unique import conflicting, existing, replaced

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
