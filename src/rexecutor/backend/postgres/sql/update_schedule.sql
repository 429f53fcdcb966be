-- Stores how far a schedule has come. `lock_schedule` has locked its row.
UPDATE "rexecutor".schedules SET
    executor = %(executor)s,
    expression = %(expression)s,
    timezone = %(timezone)s,
    last_tick = %(last_tick)s,
    next_tick = %(next_tick)s,
    left_out = %(left_out)s
WHERE id = %(id)s
