-- Deletes the oldest rows of hours that are no longer kept, at most `limit`, and returns a row for each. Index: the
-- primary key. The limit is in a subquery for the reason that `take_minutes` has.
DELETE FROM "rexecutor".stats WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".stats
    WHERE minutes = 60 AND moment < %(before)s
    ORDER BY moment, executor, outcome
    LIMIT (SELECT %(limit)s::bigint)
    FOR UPDATE SKIP LOCKED
))
RETURNING true
