-- Ends a node's lease now.
DELETE FROM rexecutor_nodes WHERE id = :id
