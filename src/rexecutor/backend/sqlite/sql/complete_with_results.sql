-- Records successes of which some have a result, as the change `Complete` does. Fenced by `claims`. If fewer rows are
-- changed than outcomes were given, a claim was lost. The caller deletes the rows of `rexecutor_running`. Each row of
-- VALUES is an id, its claims and its result. They are parameters, because a result from JSON takes twice as long. Rows
-- of NULL fill up a batch and match no job.
UPDATE rexecutor_stored_jobs SET
    status = 'complete',
    attempt = max(run.attempt, 0),
    claims = run.claims,
    attempted_at = run.attempted_at,
    completed_at = ?,
    result = settled.column3
FROM (VALUES /* rows */) AS settled
CROSS JOIN rexecutor_running AS run
WHERE run.id = settled.column1
    AND run.claims = settled.column2
    AND rexecutor_stored_jobs.id = run.id
