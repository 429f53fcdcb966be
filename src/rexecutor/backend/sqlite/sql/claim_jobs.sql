-- Hands the jobs to a node, as the change `Claimed` does. The caller chose them in the same transaction.
-- min() keeps a counter that somebody wrote by hand from overflowing, which would fail the whole batch.
UPDATE rexecutor_jobs SET
    status = 'executing',
    due = 0,
    attempt = min(attempt + 1, 2147483647),
    claims = min(claims + 1, 9007199254740991),
    node = :node,
    attempted_at = :now
WHERE id IN (SELECT value FROM json_each(:ids))
RETURNING
    -- The rest of a claimed row is known: see `read_claimed`.
    id, data, metadata, attempt, max_attempts, tags, errors, claims, snoozes, losses, unique_key, revision, inserted_at
