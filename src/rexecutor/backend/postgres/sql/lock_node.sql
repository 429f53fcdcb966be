-- Answers a node's epoch, once no claim of the node is under way: each holds the row's key until it is committed.
SELECT epoch FROM "rexecutor".nodes WHERE id = %(node)s FOR UPDATE
