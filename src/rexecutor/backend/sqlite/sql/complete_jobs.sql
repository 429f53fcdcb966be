-- Records successes without a result, as the change `Complete` does. Fenced by `claims`. If fewer rows are changed than
-- outcomes were given, a claim was lost. The caller deletes the rows of `rexecutor_running`. `settled` is an object, id
-- → claims: from a list of pairs, SQLite would read each pair anew for each of its values.
UPDATE rexecutor_stored_jobs SET
    status = 'complete',
    attempt = max(run.attempt, 0),
    claims = run.claims,
    attempted_at = run.attempted_at,
    completed_at = :now,
    result = NULL
FROM json_each(:settled) AS settled CROSS JOIN rexecutor_running AS run
WHERE run.id = settled.key
    AND run.claims = settled.value
    AND rexecutor_stored_jobs.id = run.id
