"""`examples/script`: a script that stores jobs, and a worker that runs them."""

from pathlib import Path

from tests.examples.programs import Programs


def test_a_script_gets_its_results_although_the_first_worker_is_killed(tmp_path: Path) -> None:
    with Programs.of_example("script", tmp_path, LEASE="0.6") as programs:
        words = {name: len((programs.folder / name).read_text().split()) for name in ("README.md", "jobs.py")}
        script = programs.start("count.py", *words)
        programs.until(lambda: "jobs 1, 2 are stored" in script.said)

        killed = programs.worker("jobs:rexecutor", WORK="600")
        programs.wait_for(
            lambda: programs.run("-m", "rexecutor", "jobs", "show", "1", "--url", "sqlite:///jobs.db"),
            lambda shown: "executing" in shown,
        )
        killed.kill()
        programs.worker("jobs:rexecutor")

        assert script.ended() == 0, str(script)
        assert script.said.splitlines()[1:] == [f"{name}: {count} words" for name, count in words.items()]
        shown = programs.run("-m", "rexecutor", "jobs", "show", "1", "--url", "sqlite:///jobs.db")
        assert "lost" in shown, shown
