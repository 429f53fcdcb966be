-- Returns the nodes. Moments that Python cannot read, which somebody has written by hand, are replaced by the nearest that
-- it can: the second day of the year 1, or the last but one of 9999. The last column is the time.
SELECT
    id, name,
    min(max(started_at, -62135510400000000), 253402128000000000),
    min(max(coalesce(renewed_at, started_at), -62135510400000000), 253402128000000000),
    min(max(lease_until, -62135510400000000), 253402128000000000),
    state, executors, :now
FROM rexecutor_nodes
