"""The running half: claim when slots are free, run one job, deliver outcomes, keep the lease."""
