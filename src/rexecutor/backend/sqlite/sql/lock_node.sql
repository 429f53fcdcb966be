-- Returns a node's epoch. The transaction has the write lock.
SELECT epoch FROM rexecutor_nodes WHERE id = :node
