-- Makes a node hold a lock, unless another node with a live lease holds it. Returns a row if the node holds it now.
INSERT INTO "rexecutor".duties AS held (duty, node) VALUES (%(name)s, %(node)s)
ON CONFLICT (duty) DO UPDATE SET node = excluded.node
WHERE held.node = excluded.node OR NOT EXISTS (
    SELECT FROM "rexecutor".nodes
    WHERE nodes.id = held.node AND nodes.lease_until > coalesce(%(now)s::timestamptz, now())
)
RETURNING node
