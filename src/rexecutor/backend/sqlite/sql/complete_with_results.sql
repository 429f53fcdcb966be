-- Records successes of which some have a result, as the change `Complete` does, fenced by status and claims. Fewer rows
-- than settlements mean that a claim was lost. Each row is an id, its claims and its result: as parameters, since from
-- JSON a result takes twice as long. Rows of NULL match no job: they fill up a batch.
UPDATE rexecutor_jobs SET
    status = 'complete',
    node = NULL,
    cancel_reason = NULL,
    completed_at = ?,
    result = settled.column3
FROM (VALUES /* rows */) AS settled
WHERE rexecutor_jobs.id = settled.column1
    AND rexecutor_jobs.claims = settled.column2
    AND rexecutor_jobs.status = 'executing'
