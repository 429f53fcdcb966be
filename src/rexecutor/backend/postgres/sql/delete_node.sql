-- Ends a node's lease now.
DELETE FROM "rexecutor".nodes WHERE id = %(id)s
