import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm import engine
from domainlm.artifacts import Manifest, Task, atomic_write, code_hash, sha256_json
from domainlm.errors import DomainLMError


def double(root: Path, arguments: dict[str, Any]) -> dict[str, int]:
    text = (root / arguments["from"]).read_text()
    with atomic_write(root / arguments["to"], "w") as file:
        file.write(text * arguments["times"])
    return {arguments["to"]: 1}


def fail(root: Path, arguments: dict[str, Any]) -> None:
    raise DomainLMError("it broke", where="there", why="because", fix="mend it", exit_code=3)


def die(root: Path, arguments: dict[str, Any]) -> None:
    os.kill(os.getpid(), 9)


def task(to: str = "b.txt", times: int = 2, source: str = "a.txt") -> Task:
    arguments = {"from": source, "to": to, "times": times}
    return Task(f"room/{to}", double, arguments, (source,), (to,))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("x")
    return tmp_path


def run(root: Path, *tasks: Task) -> list[str]:
    manifest = Manifest(root)
    pending = [t for t in tasks if manifest.why_stale(t)]
    for done, rows, seconds in engine.run_tasks(root, pending, workers=2):
        manifest.record(done, rows, seconds)
    return [t.name for t in pending]


def test_a_second_run_does_nothing(root: Path) -> None:
    assert run(root, task()) == ["room/b.txt"]
    assert run(root, task()) == []


def test_why_stale_names_the_cause(root: Path) -> None:
    run(root, task())
    assert Manifest(root).why_stale(task("c.txt")) == "not done yet"
    assert "times" in str(Manifest(root).why_stale(task(times=3)))
    (root / "a.txt").write_text("y")
    assert "changed input: a.txt" in str(Manifest(root).why_stale(task()))
    (root / "a.txt").write_text("x")
    assert Manifest(root).why_stale(task()) is None
    (root / "b.txt").write_text("truncated")
    assert "damaged output: b.txt" in str(Manifest(root).why_stale(task()))
    (root / "b.txt").unlink()
    assert "missing" in str(Manifest(root).why_stale(task()))


def test_a_change_reaches_only_what_depends_on_it(root: Path) -> None:
    chain = [task("b.txt"), task("c.txt", source="b.txt"), task("d.txt")]
    for one in chain:
        run(root, one)
    changed = [task("b.txt", times=5), task("c.txt", source="b.txt"), task("d.txt")]
    assert [name for one in changed for name in run(root, one)] == ["room/b.txt", "room/c.txt"]


def test_a_changed_code_makes_stale(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(root, task())
    monkeypatch.setattr("domainlm.artifacts.code_hash", lambda function: "other")
    assert Manifest(root).why_stale(task()) == "the code of the stage changed"


def test_code_hash_is_of_the_room() -> None:
    from domainlm.corpus.split import assign
    from domainlm.tokens.encode import encode, index

    assert code_hash(encode) == code_hash(index) != code_hash(assign)


def test_verify_finds_a_flipped_byte(root: Path) -> None:
    run(root, task())
    assert Manifest(root).differences() == []
    (root / "b.txt").write_text("xy")
    assert Manifest(root).differences() == ["b.txt: differs from the manifest (task room/b.txt)"]


def test_forget_removes_what_no_task_owns(root: Path) -> None:
    run(root, task("b.txt"), task("c.txt"))
    manifest = Manifest(root)
    manifest.forget({"room/b.txt"}, "room")
    assert (root / "b.txt").exists() and not (root / "c.txt").exists()
    assert list(Manifest(root).tasks) == ["room/b.txt"]


def test_an_error_in_a_worker_arrives_whole(root: Path) -> None:
    tasks = [Task("room/one", fail, {}), Task("room/two", fail, {})]
    with pytest.raises(DomainLMError) as caught:
        list(engine.run_tasks(root, tasks, workers=2))
    assert (caught.value.fix, caught.value.exit_code) == ("mend it", 3)


def test_a_killed_worker_is_a_clear_error(root: Path) -> None:
    tasks = [Task("room/one", die, {}), Task("room/two", die, {})]
    with pytest.raises(DomainLMError, match="a worker process was killed"):
        list(engine.run_tasks(root, tasks, workers=2))


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path, "w") as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not on this system")
def test_a_full_disk_is_a_clear_stop(tmp_path: Path) -> None:
    with pytest.raises(DomainLMError, match="no room left"), atomic_write(tmp_path / "x") as file:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
        file.write(b"x")
    assert list(tmp_path.iterdir()) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    max_leaves=10,
)


@given(json_values)
def test_the_hash_of_json_survives_a_round_trip(value: Any) -> None:
    assert sha256_json(json.loads(json.dumps(value))) == sha256_json(value)
