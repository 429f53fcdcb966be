"""The rules of a job store as pure functions: the executable specification.

`InMemoryBackend` runs these alone; the SQL backends run them for what is rarer than a claim or a success. One suite and
one model check the rest of their SQL against them.
"""

from rexecutor.model.rules.life import (
    EXPIRED_DETAILS,
    LOST_DETAILS,
    changed,
    claim_order,
    claimable,
    due_at,
    expires_at,
    found,
    has_started,
    holds_claim,
    inserted,
    is_claimed_too_late,
    is_expired,
    rescue_delay,
    transition,
    updated,
)
from rexecutor.model.rules.matching import matches, moment_of
from rexecutor.model.rules.pruning import prunable
from rexecutor.model.rules.stats import (
    deletes_before,
    foldable,
    folded,
    folds_before,
    merged,
    outdated,
    plus,
    stat_key,
)
from rexecutor.model.rules.ticking import MAX_TICKS, Look, Ticks, advance, advance_all, due_ticks
from rexecutor.model.rules.unique import conflicting, pick_existing, replaced

__all__ = [
    "EXPIRED_DETAILS",
    "LOST_DETAILS",
    "MAX_TICKS",
    "Look",
    "Ticks",
    "advance",
    "advance_all",
    "changed",
    "claim_order",
    "claimable",
    "conflicting",
    "deletes_before",
    "due_at",
    "due_ticks",
    "expires_at",
    "foldable",
    "folded",
    "folds_before",
    "found",
    "has_started",
    "holds_claim",
    "inserted",
    "is_claimed_too_late",
    "is_expired",
    "matches",
    "merged",
    "moment_of",
    "outdated",
    "pick_existing",
    "plus",
    "prunable",
    "replaced",
    "rescue_delay",
    "stat_key",
    "transition",
    "updated",
]
