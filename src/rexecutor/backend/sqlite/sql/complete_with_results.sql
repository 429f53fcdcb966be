-- Records successes of which some have a result, as the change `Complete` does, fenced by the claims of what runs. Fewer
-- rows than settlements mean that a claim was lost. The caller ends the runs. Each row is an id, its claims and its
-- result: as parameters, since from JSON a result takes twice as long. Rows of NULL match no job: they fill up a batch.
UPDATE rexecutor_stored_jobs SET
    status = 'complete',
    attempt = run.attempt,
    claims = run.claims,
    attempted_at = run.attempted_at,
    completed_at = ?,
    result = settled.column3
FROM (VALUES /* rows */) AS settled
CROSS JOIN rexecutor_running AS run
WHERE run.id = settled.column1
    AND run.claims = settled.column2
    AND rexecutor_stored_jobs.id = run.id
