-- Adds rows to the history, each to the stored row of its key if there is one. Index: the primary key. All nodes lock
-- rows in one order, so that none waits for another that waits for it.
INSERT INTO "rexecutor".stats AS kept (minutes, moment, executor, outcome, attempts, waits, runs)
SELECT minutes, moment, executor, outcome, attempts, waits, runs
FROM json_to_recordset(%(rows)s::json) AS given (
    minutes integer, moment timestamptz, executor text, outcome text, attempts bigint, waits bigint[], runs bigint[]
)
ORDER BY minutes, moment, executor, outcome
ON CONFLICT (minutes, moment, executor, outcome) DO UPDATE SET
    attempts = ("rexecutor".sums(ARRAY[kept.attempts], ARRAY[excluded.attempts]))[1],
    waits = "rexecutor".sums(kept.waits, excluded.waits),
    runs = "rexecutor".sums(kept.runs, excluded.runs)
