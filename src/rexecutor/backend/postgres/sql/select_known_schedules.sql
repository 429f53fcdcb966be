-- Returns those of these schedules that are stored, without a lock: a first look whether there is anything to do.
SELECT id, executor, expression, timezone, last_tick, next_tick, left_out FROM "rexecutor".schedules WHERE id = ANY(%(ids)s)
