-- Answers a row when the node's lease lives, and it has not given the claim up: else it may claim nothing.
SELECT 1 FROM rexecutor_nodes WHERE id = :node AND lease_until > :now AND epoch <= :epoch
