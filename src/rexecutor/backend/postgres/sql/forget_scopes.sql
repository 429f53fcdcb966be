-- Forgets scopes that nobody has taken for a day: so long, a transaction that looks at an older snapshot must find its
-- scope changed. Index: scopes_taken.
DELETE FROM "rexecutor".scopes
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".scopes
    WHERE taken_at < clock_timestamp() - interval '1 day'
    ORDER BY taken_at
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
))
