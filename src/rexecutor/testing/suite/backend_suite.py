"""`BackendSuite`, which combines the cases of all topics."""

from rexecutor.testing.suite.cancel_and_rerun import CancelAndRerunCases
from rexecutor.testing.suite.catch_up import CatchUpCases
from rexecutor.testing.suite.claim import ClaimCases
from rexecutor.testing.suite.claim_order import ClaimOrderCases
from rexecutor.testing.suite.diagnosis import DiagnosisCases
from rexecutor.testing.suite.duties import DutyCases
from rexecutor.testing.suite.enqueue import EnqueueCases
from rexecutor.testing.suite.event_loops import EventLoopCases
from rexecutor.testing.suite.expiry import ExpiryCases
from rexecutor.testing.suite.fence import FenceCases
from rexecutor.testing.suite.headers import HeaderCases
from rexecutor.testing.suite.hints import HintCases
from rexecutor.testing.suite.hostile import HostileInputCases
from rexecutor.testing.suite.lease import LeaseCases
from rexecutor.testing.suite.lifecycle import LifecycleCases
from rexecutor.testing.suite.load import LoadCases
from rexecutor.testing.suite.many import ManyCases
from rexecutor.testing.suite.nodes import NodeCases
from rexecutor.testing.suite.pauses import PauseCases
from rexecutor.testing.suite.prune import PruneCases
from rexecutor.testing.suite.query import QueryCases
from rexecutor.testing.suite.release_claims import ReleaseClaimsCases
from rexecutor.testing.suite.replace import ReplaceCases
from rexecutor.testing.suite.rescue import RescueCases
from rexecutor.testing.suite.results import ResultCases
from rexecutor.testing.suite.schedules import ScheduleCases
from rexecutor.testing.suite.settle import SettleCases
from rexecutor.testing.suite.shared_store import SharedStoreCases
from rexecutor.testing.suite.stats import StatCases
from rexecutor.testing.suite.sync_waits import SyncWaitCases
from rexecutor.testing.suite.synchronous import SynchronousCases
from rexecutor.testing.suite.unique import UniqueCases
from rexecutor.testing.suite.unique_batch import UniqueBatchCases
from rexecutor.testing.suite.unique_data import UniqueDataCases
from rexecutor.testing.suite.update import UpdateCases
from rexecutor.testing.suite.waits import WaitCases
from rexecutor.testing.suite.where import WhereCases


class BackendSuite(
    LifecycleCases,
    EventLoopCases,
    EnqueueCases,
    ClaimCases,
    ClaimOrderCases,
    PauseCases,
    SettleCases,
    ResultCases,
    FenceCases,
    LeaseCases,
    NodeCases,
    LoadCases,
    RescueCases,
    ExpiryCases,
    HeaderCases,
    ReleaseClaimsCases,
    CancelAndRerunCases,
    ManyCases,
    QueryCases,
    WhereCases,
    UniqueCases,
    UniqueBatchCases,
    UniqueDataCases,
    ReplaceCases,
    UpdateCases,
    ScheduleCases,
    CatchUpCases,
    PruneCases,
    DutyCases,
    DiagnosisCases,
    StatCases,
    HintCases,
    WaitCases,
    HostileInputCases,
    SharedStoreCases,
    SynchronousCases,
    SyncWaitCases,
):
    """Tests that a backend keeps the port's promises.

    Subclass it in a test module; this is all that it needs:

    ```python
    class TestMyBackend(BackendSuite):
        def open_backend(self, clock: FakeClock, store: Path) -> MyBackend:
            return MyBackend(store / "jobs", clock=clock)
    ```

    `store` is an empty folder, a new one for each case. The suite opens and closes the backends that `open_backend`
    returns, and runs its coroutines itself, so pytest needs no plugin. Set `shares_store = True` if two backends on
    one `store` folder share their jobs; otherwise the cases about that are skipped. Your own cases may also be
    coroutines that take a `Store`. For readable failures, call
    `pytest.register_assert_rewrite("rexecutor.testing.suite")` in `conftest.py`.
    """
