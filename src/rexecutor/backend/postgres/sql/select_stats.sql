-- Returns the rows of the history since a moment. Index: the primary key.
SELECT minutes, moment, executor, outcome, attempts, array_to_json(waits)::text, array_to_json(runs)::text
FROM "rexecutor".stats
WHERE minutes IN (1, 60) AND moment >= %(since)s
ORDER BY moment, executor COLLATE "C", outcome COLLATE "C", minutes
