-- Starts jobs, as the change `Claimed` does. The caller takes them out of the queue in the same transaction.
-- min() and max() keep a number that was written by hand within its bounds; otherwise the claim of the batch would
-- fail.
INSERT INTO rexecutor_running (id, claims, attempted_at, attempt, node, executor, flow, lane)
SELECT
    id, max(1, min(claims + 1, 9007199254740991)), :now, max(1, min(attempt + 1, 2147483647)), :node, executor, flow, lane
FROM rexecutor_stored_jobs
WHERE id IN (SELECT value FROM json_each(:ids))
-- Only a change by hand can queue a job that executes. Its earlier claim is then fenced off, as by any later claim.
ON CONFLICT (id) DO UPDATE SET
    claims = max(excluded.claims, rexecutor_running.claims + 1),
    attempted_at = excluded.attempted_at,
    attempt = excluded.attempt,
    node = excluded.node,
    cancel_reason = NULL
