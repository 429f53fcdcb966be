-- Lets others do a duty.
DELETE FROM "rexecutor".duties WHERE duty = %(duty)s AND node = %(node)s
