-- Returns the pauses that are in force. Moments that Python cannot read, which somebody has written by hand, are replaced
-- by the nearest that it can, and an end beyond these by none.
SELECT
    scope,
    least(greatest(since, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00'),
    CASE WHEN until < '9999-12-30 00:00:00+00' THEN until END,
    reason
FROM "rexecutor".pauses
WHERE until IS NULL OR until > coalesce(%(now)s::timestamptz, now())
ORDER BY scope COLLATE "C"
