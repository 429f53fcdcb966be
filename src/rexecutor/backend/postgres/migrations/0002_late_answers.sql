-- How often a node has given up claims whose answer was lost: a claim of an earlier epoch that comes late takes nothing.
ALTER TABLE "rexecutor".nodes ADD COLUMN epoch bigint NOT NULL DEFAULT 0;
-- Ticks that nodes left out because they had only just begun, for those that were up when they fell: spans in JSON.
ALTER TABLE "rexecutor".schedules ADD COLUMN left_out text NOT NULL DEFAULT '[]';
