-- Deletes the oldest rows of minutes that are to be folded, at most `limit`, and returns them. Index: the primary key.
-- A row that somebody adds to at this moment is left to the next call. The planner does not see the limit in the
-- subquery: without statistics, it would read and sort all old rows.
DELETE FROM "rexecutor".stats WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".stats
    WHERE minutes = 1 AND moment < %(before)s
    ORDER BY moment, executor, outcome
    LIMIT (SELECT %(limit)s::bigint)
    FOR UPDATE SKIP LOCKED
))
RETURNING minutes, moment, executor, outcome, attempts, array_to_json(waits)::text, array_to_json(runs)::text
