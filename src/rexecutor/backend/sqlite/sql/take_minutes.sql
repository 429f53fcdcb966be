-- Deletes the oldest rows of minutes that are to be folded, at most `limit`, and returns them. Index: the primary key.
DELETE FROM rexecutor_stats WHERE (minutes, moment, executor, outcome) IN (
    SELECT minutes, moment, executor, outcome FROM rexecutor_stats
    WHERE minutes = 1 AND moment < :before
    ORDER BY moment, executor, outcome
    LIMIT :limit
)
RETURNING minutes, moment, executor, outcome, attempts, waits, runs
