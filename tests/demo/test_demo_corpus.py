import hashlib
import os
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from demo import corpus
from demo.corpus import files_below, installed_files, planned
from demo.findings import Findings, examined


def _files(folder: Path, count: int, *, suffix: str = ".py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"f{number}{suffix}").touch()
    return folder


def test_without_a_folder_there_are_well_over_a_thousand_real_files() -> None:
    found = installed_files()

    assert len(found.files) > 1_100
    assert len(set(found.files)) == len(found.files)
    assert not any("site-packages" in str(path) for path in found.files) or len(found.folders) > 1


def test_where_the_standard_library_is_small_packages_fill_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = _files(tmp_path / "lib", 3)
    _files(library / "site-packages", 5)
    packages = _files(tmp_path / "packages", 4)
    folders = {"stdlib": library, "purelib": packages, "platlib": packages}

    def path(name: str, vars: object = None) -> str:  # noqa: A002 - sysconfig's own
        return str(folders[name])

    monkeypatch.setattr(sysconfig, "get_path", path)
    monkeypatch.setattr(corpus, "MIN_FILES", 4)
    monkeypatch.setattr(corpus, "MAX_FILES", 5)

    found = installed_files()

    assert found.folders == [library, packages]
    assert len(found.files) == 5


def test_a_folder_gives_its_python_files_however_deep(tmp_path: Path) -> None:
    _files(tmp_path / "a" / "b c" / "\xfc", 2)
    _files(tmp_path / "a" / "__pycache__", 2)
    _files(tmp_path, 2, suffix=".txt")

    assert [path.name for path in files_below(tmp_path).files] == ["f0.py", "f1.py"]


def test_a_file_whose_name_is_no_utf8_is_left_out_and_counted(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.py")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")

    found = files_below(_files(tmp_path, 1))

    assert (len(found.files), found.left_out) == (1, 1)


@pytest.mark.parametrize(
    ("count", "troubles"),
    [
        (1, {"always fails": 1}),
        (2, {"always fails": 1, "fails once": 1}),
        (3, {"always fails": 1, "fails once": 1, "lingers": 1}),
        (100, {"always fails": 1, "fails once": 3, "lingers": 1, "none": 95}),
        (2_000, {"always fails": 1, "fails once": 41, "none": 1_958}),
    ],
)
def test_one_job_always_fails_some_fail_once_and_of_few_one_lingers(count: int, troubles: dict[str, int]) -> None:
    jobs = planned([Path(f"/x/{number}.py") for number in range(count)])

    assert Counter(job.trouble for job in jobs) == troubles
    assert [job.path for job in jobs] == [f"/x/{number}.py" for number in range(count)]


def test_the_same_files_give_the_same_trouble() -> None:
    files = [Path(f"/x/{number}.py") for number in range(50)]

    assert planned(files) == planned(files)


def test_a_file_is_hashed_parsed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    content = b"class A:\n    def f(self): ...\n    async def g(self): ...\n"
    path.write_bytes(content)

    findings = examined(str(path))

    assert findings.sha256 == hashlib.sha256(content).hexdigest()
    assert (findings.classes, findings.functions, findings.error) == (1, 2, None)
    assert findings.nodes > 5


@pytest.mark.parametrize(
    ("content", "error"), [(b"def", "SyntaxError"), (b"x = '\xe9'", "SyntaxError"), (None, "FileNotFoundError")]
)
def test_an_error_of_the_file_is_a_finding(tmp_path: Path, content: bytes | None, error: str) -> None:
    path = tmp_path / "a.py"
    if content is not None:
        path.write_bytes(content)

    sha256 = "" if content is None else hashlib.sha256(content).hexdigest()
    assert examined(str(path)) == Findings(str(path), sha256, error=error)
