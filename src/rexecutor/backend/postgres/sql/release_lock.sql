-- Releases a duty, if the node holds it.
DELETE FROM "rexecutor".duties WHERE duty = %(duty)s AND node = %(node)s
