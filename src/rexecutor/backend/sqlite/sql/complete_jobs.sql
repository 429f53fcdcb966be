-- Records successes without a result, as the change `Complete` does, fenced by the claims of what runs. Fewer rows than
-- settlements mean that a claim was lost. The caller ends the runs. `settled` is an object of ids and claims, because
-- SQLite reads each array within an array anew for each of its values.
UPDATE rexecutor_stored_jobs SET
    status = 'complete',
    attempt = run.attempt,
    claims = run.claims,
    attempted_at = run.attempted_at,
    completed_at = :now,
    result = NULL
FROM json_each(:settled) AS settled CROSS JOIN rexecutor_running AS run
WHERE run.id = settled.key
    AND run.claims = settled.value
    AND rexecutor_stored_jobs.id = run.id
