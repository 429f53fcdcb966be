-- Returns the nodes. Moments that Python cannot read, which somebody has written by hand, are replaced by the nearest that
-- it can. The last column is the time.
SELECT
    id, name,
    least(greatest(started_at, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00'),
    least(greatest(coalesce(renewed_at, started_at), '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00'),
    least(greatest(lease_until, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00'),
    state::text, executors::text, coalesce(%(now)s::timestamptz, now())
FROM "rexecutor".nodes
