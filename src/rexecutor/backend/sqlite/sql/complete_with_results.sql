-- Records successes of which some have a result, as the change `Complete` does, fenced by status and claims. Fewer rows than
-- settlements mean that a claim was lost.
UPDATE rexecutor_jobs SET
    status = 'complete',
    node = NULL,
    cancel_reason = NULL,
    completed_at = :now,
    result = settled.result
FROM (SELECT value ->> 0 AS id, value ->> 1 AS claims, value ->> 2 AS result FROM json_each(:settled)) AS settled
WHERE rexecutor_jobs.id = settled.id
    AND rexecutor_jobs.claims = settled.claims
    AND rexecutor_jobs.status = 'executing'
