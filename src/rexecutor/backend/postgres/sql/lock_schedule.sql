-- Returns a stored schedule, locked until the transaction ends.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM "rexecutor".schedules WHERE id = %(id)s FOR UPDATE
