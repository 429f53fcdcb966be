-- Deletes the oldest rows of hours that are no longer kept, at most `limit`, and returns a row for each. Index: the
-- primary key.
DELETE FROM rexecutor_stats WHERE (minutes, moment, executor, outcome) IN (
    SELECT minutes, moment, executor, outcome FROM rexecutor_stats
    WHERE minutes = 60 AND moment < :before
    ORDER BY moment, executor, outcome
    LIMIT :limit
)
RETURNING 1
