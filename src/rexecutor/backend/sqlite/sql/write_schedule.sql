-- Keeps how far a schedule has come.
INSERT INTO rexecutor_schedules (id, executor, expression, timezone, last_tick, next_tick)
VALUES (:id, :executor, :expression, :timezone, :last_tick, :next_tick)
ON CONFLICT (id) DO UPDATE SET last_tick = :last_tick, next_tick = :next_tick
