-- Stores one row of the history in place of the one with its key, which was read in the same transaction.
INSERT INTO rexecutor_stats (minutes, moment, executor, outcome, attempts, waits, runs)
VALUES (:minutes, :moment, :executor, :outcome, :attempts, :waits, :runs)
ON CONFLICT (minutes, moment, executor, outcome) DO UPDATE SET attempts = :attempts, waits = :waits, runs = :runs
