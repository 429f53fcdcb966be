-- Answers a row when the node's lease lives: without one it may claim nothing.
SELECT 1 FROM rexecutor_nodes WHERE id = :node AND lease_until > :now
