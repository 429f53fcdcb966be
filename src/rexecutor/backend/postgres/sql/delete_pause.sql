-- Ends a pause. Returns a row if there was one, which says whether it was in force.
DELETE FROM "rexecutor".pauses WHERE scope = %(scope)s
RETURNING until IS NULL OR until > %(now)s::timestamptz
