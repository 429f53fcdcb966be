-- Stores a schedule that is seen for the first time.
INSERT INTO rexecutor_schedules (id, executor, expression, timezone, last_tick, next_tick, left_out)
VALUES (:id, :executor, :expression, :timezone, :last_tick, :next_tick, :left_out)
