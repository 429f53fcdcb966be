-- Returns the rows of the history since a moment. Index: the primary key.
SELECT minutes, moment, executor, outcome, attempts, waits, runs FROM rexecutor_stats
WHERE minutes IN (1, 60) AND moment >= :since
ORDER BY moment, executor, outcome, minutes
