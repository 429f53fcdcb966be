-- Locks the scopes of unique jobs, in sorted order, until the transaction ends. A second enqueue in a scope waits here.
-- Then, in READ COMMITTED, its next statement sees what the first has done; in stricter levels, it fails with a
-- serialization error.
INSERT INTO "rexecutor".scopes (scope, taken_at)
SELECT scope, clock_timestamp() FROM unnest(%(scopes)s::text[]) AS scope
ORDER BY scope
ON CONFLICT (scope) DO UPDATE SET taken_at = excluded.taken_at
