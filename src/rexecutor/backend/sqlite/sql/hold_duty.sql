-- Makes a node the one that does a duty, unless another node with a live lease does it.
INSERT INTO rexecutor_duties (duty, node) VALUES (:duty, :node)
ON CONFLICT (duty) DO UPDATE SET node = :node
WHERE rexecutor_duties.node = :node OR NOT EXISTS (
    SELECT 1 FROM rexecutor_nodes WHERE rexecutor_nodes.id = rexecutor_duties.node AND lease_until > :now
)
