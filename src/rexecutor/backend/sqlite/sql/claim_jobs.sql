-- Claims the jobs for a node, as the change `Claimed` does. The caller chose them in the same transaction.
-- min() and max() keep a counter that was written by hand within its bounds; beyond them it would fail the batch.
UPDATE rexecutor_jobs SET
    status = 'executing',
    due = 0,
    attempt = max(1, min(attempt + 1, 2147483647)),
    claims = max(1, min(claims + 1, 9007199254740991)),
    node = :node,
    attempted_at = :now
WHERE id IN (SELECT value FROM json_each(:ids))
RETURNING
    -- The caller knows the other columns: see `read_claimed`.
    id, data, metadata, attempt, max_attempts, tags, errors, claims, snoozes, losses, unique_key, revision, inserted_at,
    expires_at
