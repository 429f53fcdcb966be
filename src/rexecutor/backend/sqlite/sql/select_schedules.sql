-- Returns the schedules that the store knows.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM rexecutor_schedules ORDER BY id
