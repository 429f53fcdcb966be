-- Records successes without a result, as the change `Complete` does, fenced by the claims of what runs. Fewer rows than
-- settlements mean that a claim was lost. The caller ends the runs.
UPDATE rexecutor_stored_jobs SET
    status = 'complete',
    attempt = run.attempt,
    claims = run.claims,
    attempted_at = run.attempted_at,
    completed_at = :now,
    result = NULL
FROM (SELECT value ->> 0 AS id, value ->> 1 AS claims FROM json_each(:settled)) AS settled
CROSS JOIN rexecutor_running AS run
WHERE run.id = settled.id
    AND run.claims = settled.claims
    AND rexecutor_stored_jobs.id = run.id
