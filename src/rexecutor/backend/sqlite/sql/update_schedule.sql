-- Stores how far a schedule has come. The row was read in the same transaction.
UPDATE rexecutor_schedules SET
    executor = :executor,
    expression = :expression,
    timezone = :timezone,
    last_tick = :last_tick,
    next_tick = :next_tick,
    left_out = :left_out
WHERE id = :id
