-- Begins or renews a node's lease, whether or not it has run out; answers whether it began. As long as the row is
-- there, nobody has rescued its jobs.
WITH clock AS MATERIALIZED (
    SELECT coalesce(%(now)s::timestamptz, now()) AS now
)
INSERT INTO "rexecutor".nodes AS node (id, name, started_at, lease_until)
SELECT %(id)s, %(name)s, clock.now, clock.now + %(lease)s::interval FROM clock
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
RETURNING node.xmax = 0
