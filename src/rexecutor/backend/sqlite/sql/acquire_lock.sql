-- Makes a node the holder of a lock, unless another node with a live lease holds it.
INSERT INTO rexecutor_duties (duty, node) VALUES (:name, :node)
ON CONFLICT (duty) DO UPDATE SET node = :node
WHERE rexecutor_duties.node = :node OR NOT EXISTS (
    SELECT 1 FROM rexecutor_nodes WHERE rexecutor_nodes.id = rexecutor_duties.node AND lease_until > :now
)
