-- Makes a node the one that does a duty, unless another node with a live lease does it.
INSERT INTO "rexecutor".duties AS held (duty, node) VALUES (%(duty)s, %(node)s)
ON CONFLICT (duty) DO UPDATE SET node = excluded.node
WHERE held.node = excluded.node OR NOT EXISTS (
    SELECT FROM "rexecutor".nodes
    WHERE nodes.id = held.node AND nodes.lease_until > coalesce(%(now)s::timestamptz, now())
)
