-- Returns a node's epoch.
SELECT epoch FROM rexecutor_nodes WHERE id = :node
