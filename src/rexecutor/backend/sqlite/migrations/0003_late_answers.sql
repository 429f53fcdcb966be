-- How often a node has given up claims whose answer was lost: a claim of an earlier epoch that comes late takes nothing.
ALTER TABLE rexecutor_nodes ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
-- Ticks that nodes left out because they had only just begun, for those that were up when they fell: spans in JSON.
ALTER TABLE rexecutor_schedules ADD COLUMN left_out TEXT NOT NULL DEFAULT '[]';
