-- Returns all stored schedules, in the order of their ids.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM "rexecutor".schedules ORDER BY id COLLATE "C"
