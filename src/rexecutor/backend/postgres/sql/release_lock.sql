-- Releases a lock, if the node holds it.
DELETE FROM "rexecutor".duties WHERE duty = %(name)s AND node = %(node)s
