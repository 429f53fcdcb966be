-- How often a node has given up claims whose answer was lost: a claim of an earlier epoch that comes late takes nothing.
ALTER TABLE "rexecutor".nodes ADD COLUMN epoch bigint NOT NULL DEFAULT 0;
