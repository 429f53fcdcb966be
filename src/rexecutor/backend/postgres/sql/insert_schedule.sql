-- Stores a schedule that is seen for the first time. Does nothing if another node has stored it already.
INSERT INTO "rexecutor".schedules (id, executor, expression, timezone, last_tick, next_tick, left_out)
VALUES (%(id)s, %(executor)s, %(expression)s, %(timezone)s, %(last_tick)s, %(next_tick)s, %(left_out)s)
ON CONFLICT (id) DO NOTHING
