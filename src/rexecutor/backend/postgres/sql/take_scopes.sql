-- Locks the scopes of unique jobs, in sorted order, until the transaction ends. Whoever comes second waits here, and
-- then sees what the first has done: in READ COMMITTED by the next statement's snapshot; in the stricter levels by a
-- serialization error.
INSERT INTO "rexecutor".scopes (scope, taken_at)
SELECT scope, clock_timestamp() FROM unnest(%(scopes)s::text[]) AS scope
ORDER BY scope
ON CONFLICT (scope) DO UPDATE SET taken_at = excluded.taken_at
