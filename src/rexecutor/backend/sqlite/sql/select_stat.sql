-- Returns one row of the history. Index: the primary key.
SELECT minutes, moment, executor, outcome, attempts, waits, runs FROM rexecutor_stats
WHERE minutes = :minutes AND moment = :moment AND executor = :executor AND outcome = :outcome
