-- Lets others do a duty.
DELETE FROM rexecutor_duties WHERE duty = :duty AND node = :node
