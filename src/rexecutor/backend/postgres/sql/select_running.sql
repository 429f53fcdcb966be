-- Returns the claims of a node, except those that it knows to hold. Reads all of `running`, which is small. Locks nothing:
-- an application's transaction may keep some locked until its commit, and an outcome is fenced anyway.
SELECT id, claims FROM "rexecutor".running AS run
WHERE node = %(node)s AND NOT EXISTS (
    SELECT FROM unnest(%(ids)s::bigint[], %(claims)s::bigint[]) AS held (id, claims)
    WHERE held.id = run.id AND held.claims = run.claims
)
