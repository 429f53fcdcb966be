-- Returns those of these schedules that are stored.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM rexecutor_schedules
WHERE id IN (SELECT value FROM json_each(:ids))
