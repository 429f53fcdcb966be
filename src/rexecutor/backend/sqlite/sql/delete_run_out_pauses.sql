-- Deletes the pauses that have run out.
DELETE FROM rexecutor_pauses WHERE until <= :now
