-- Stores a pause. If one is in force, its reason and its end are replaced, and it holds since the same moment as before.
INSERT INTO rexecutor_pauses (scope, since, until, reason) VALUES (:scope, :now, :until, :reason)
ON CONFLICT (scope) DO UPDATE SET until = excluded.until, reason = excluded.reason
