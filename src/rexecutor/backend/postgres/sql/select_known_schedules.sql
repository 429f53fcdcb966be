-- Answers what the store knows of these schedules, without a lock: whether there is anything to do.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM "rexecutor".schedules WHERE id = ANY(%(ids)s)
