-- Returns what the store knows of a schedule.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM rexecutor_schedules WHERE id = :id
