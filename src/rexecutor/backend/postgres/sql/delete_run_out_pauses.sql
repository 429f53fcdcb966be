-- Deletes the pauses that have run out, except those that somebody is changing.
DELETE FROM "rexecutor".pauses WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM "rexecutor".pauses WHERE until <= %(now)s::timestamptz FOR UPDATE SKIP LOCKED
))
