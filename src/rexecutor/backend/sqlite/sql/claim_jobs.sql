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
    -- What a claimed row holds besides is known: see `read_claimed`.
    id, executor, data, metadata, attempt, max_attempts, priority, tags, errors, claims, snoozes, losses,
    inserted_at, scheduled_at
