-- Returns the pauses that are in force. Moments that Python cannot read, which somebody has written by hand, are replaced
-- by the nearest that it can, the second day of the year 1 or the last but one of 9999, and an end beyond these by none.
SELECT scope, min(max(since, -62135510400000000), 253402128000000000), CASE WHEN until < 253402128000000000 THEN until END, reason FROM rexecutor_pauses
WHERE until IS NULL OR until > :now
ORDER BY scope
