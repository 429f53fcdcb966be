"""All that the author of a backend imports: the port (`Backend`), its values, the rules, and one backend to read.

`docs/write-a-backend.md` is the guide. The backends of the stores are in packages of their own: `sqlite`, `postgres`.
"""

from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.backend.messages import PAGE, CancelRequest, Claim, Count, Demand, Heartbeat, Node, Ticked
from rexecutor.backend.sync_waits import Watch
from rexecutor.clock import Clock
from rexecutor.errors import (
    BackendClosedError,
    BackendError,
    ConfigurationError,
    JobNotFoundError,
    JobStateError,
    SchemaError,
    StaleJobError,
)
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, Enqueued, ErrorKind, JobError, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import (
    COMPLETE,
    CancelAsked,
    Cancelled,
    Change,
    Claimed,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Lost,
    Outcome,
    Rerun,
    Settlement,
    Snooze,
)
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.schedules import CatchUp, Schedule, Span, StoredSchedule
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import Replace, UniquenessCriteria
from rexecutor.model.where import (
    And,
    DataEquals,
    Everything,
    ExecutorIn,
    IdIn,
    KeyIs,
    MetadataEquals,
    Moment,
    Not,
    Or,
    Scheduled,
    StatusIn,
    TaggedByAllOf,
    TaggedByOneOf,
    Where,
    node_of,
)

__all__ = [
    "COMPLETE",
    "PAGE",
    "And",
    "Backend",
    "BackendClosedError",
    "BackendError",
    "BeyondNewest",
    "CancelAsked",
    "CancelRequest",
    "Cancelled",
    "CatchUp",
    "Change",
    "Claim",
    "ClaimId",
    "Claimed",
    "Clock",
    "Complete",
    "Completion",
    "ConfigurationError",
    "Count",
    "DataEquals",
    "Demand",
    "Discarded",
    "Enqueued",
    "ErrorKind",
    "Everything",
    "ExecutorIn",
    "Expired",
    "Failed",
    "Heartbeat",
    "HeartbeatConnection",
    "IdIn",
    "InMemoryBackend",
    "Interrupted",
    "JobError",
    "JobId",
    "JobNotFoundError",
    "JobRecord",
    "JobStateError",
    "JobStatus",
    "KeyIs",
    "Limits",
    "Lost",
    "MetadataEquals",
    "Moment",
    "NewJob",
    "Node",
    "NodeId",
    "Not",
    "OlderThan",
    "Or",
    "Outcome",
    "PruneSpec",
    "Replace",
    "Rerun",
    "Schedule",
    "Scheduled",
    "SchemaError",
    "Settlement",
    "Snooze",
    "Span",
    "StaleJobError",
    "StatusIn",
    "StoredSchedule",
    "SyncTransaction",
    "TaggedByAllOf",
    "TaggedByOneOf",
    "Ticked",
    "Transaction",
    "UniquenessCriteria",
    "Watch",
    "Where",
    "node_of",
    "rules",
]
