-- Returns a node's epoch, once no claim of the node is under way: each claim locks the row's key until its commit.
SELECT epoch FROM "rexecutor".nodes WHERE id = %(node)s FOR UPDATE
