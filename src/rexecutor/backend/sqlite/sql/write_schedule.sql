-- Stores how far a schedule has come.
INSERT INTO rexecutor_schedules (id, executor, expression, timezone, last_tick, next_tick, left_out)
VALUES (:id, :executor, :expression, :timezone, :last_tick, :next_tick, :left_out)
ON CONFLICT (id) DO UPDATE SET
    executor = :executor,
    expression = :expression,
    timezone = :timezone,
    last_tick = :last_tick,
    next_tick = :next_tick,
    left_out = :left_out
