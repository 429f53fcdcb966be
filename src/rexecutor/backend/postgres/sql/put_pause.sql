-- Stores a pause. If one is in force, its reason and its end are replaced, and it holds since the same moment as before.
INSERT INTO "rexecutor".pauses AS pause (scope, since, until, reason)
VALUES (%(scope)s, %(now)s::timestamptz, %(until)s::timestamptz, %(reason)s)
ON CONFLICT (scope) DO UPDATE SET until = excluded.until, reason = excluded.reason
