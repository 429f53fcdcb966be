"""Looks at the store for what is wrong with it."""

from rexecutor.backend.findings import Severity
from rexecutor.model.where import Everything
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.store import Store, new_job


class DiagnosisCases(Cases):
    """A diagnosis says of each look what was found, and what to do about what is not as it should be."""

    async def test_a_sound_store_has_no_problem(self, store: Store) -> None:
        await store.executing(new_job(), new_job())
        await store.enqueue(new_job())

        findings = await store.backend.diagnose()

        assert findings
        assert [one for one in findings if one.severity is Severity.PROBLEM] == []

    async def test_each_finding_has_a_text_and_each_bad_one_a_fix(self, store: Store) -> None:
        for finding in await store.backend.diagnose():
            assert finding.subject
            assert finding.message
            if finding.severity in (Severity.WARNING, Severity.PROBLEM):
                assert finding.fix, finding
            if finding.severity is Severity.OK:
                assert finding.fix is None, finding

    async def test_a_diagnosis_changes_no_job(self, store: Store) -> None:
        await store.executing(new_job())
        before = await store.jobs(Everything())

        await store.backend.diagnose()

        assert await store.jobs(Everything()) == before
        assert await store.claim() == []
