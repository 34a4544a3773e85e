import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm import engine
from domainlm.artifacts import Manifest, Task, atomic_write, code_hash, sha256_bytes, sha256_json
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
    with engine.processes(root, 2, None) as submit:
        for done, result in engine.run_tasks(root, pending, submit):
            manifest.record(done, *result)
    manifest.flush()
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


def outputs(**hashes: str) -> list[dict[str, Any]]:
    return [{"path": p, "bytes": 1, "rows": None, "sha256": h} for p, h in hashes.items()]


def root_of(hashes: list[tuple[str, str]], stages: Sequence[str] = ("room",)) -> str:
    manifest = Manifest(Path("nowhere"))
    manifest.data["tasks"] = {f"room/{p}": {"outputs": outputs(**{p: h})} for p, h in hashes}
    return manifest.merkle_root(stages)


names = st.dictionaries(st.text("abc/é", min_size=1), st.sampled_from("01"), max_size=9)


@given(names, st.randoms())
def test_the_merkle_root_is_of_all_outputs_in_any_order(
    hashes: dict[str, str], random: random.Random
) -> None:
    rows = list(hashes.items())
    expected = root_of(rows)
    random.shuffle(rows)
    assert root_of(rows) == expected
    for number, (path, sha256) in enumerate(rows):
        other = (path, str(1 - int(sha256)))
        assert root_of([*rows[:number], other, *rows[number + 1 :]]) != expected
        assert root_of([*rows[:number], *rows[number + 1 :]]) != expected
        assert root_of([*rows, (path + "d", "0")]) != expected
    assert root_of(rows, ("another",)) == hashlib.sha256(b"").hexdigest()


def test_the_merkle_root_by_hand() -> None:
    def sha256(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    a, b, c = (sha256(b"\0" + x.encode() + b"\0" + b"ff") for x in "abc")
    expected = sha256(b"\1" + sha256(b"\1" + a + b) + c)
    assert root_of([("c", "ff"), ("a", "ff"), ("b", "ff")]) == expected.hex()


def test_records_are_saved_now_and_then_and_all_of_them_in_the_end(root: Path) -> None:
    manifest = Manifest(root)
    saved = set()
    for number in range(1000):
        done = outputs(**{f"out-{number}": "ff"})
        manifest.record(Task(f"room/{number:04d}", double, {"n": number}, ("a.txt",)), done, 0.1)
        saved.add(manifest.path.stat().st_size)
    assert len(saved) < 20
    manifest.flush()
    again = Manifest(root)
    assert again.data == manifest.data and len(again.tasks) == 1000
    assert again.output_hashes() == manifest.output_hashes()
    manifest.path.unlink()
    manifest.flush()  # nothing new: nothing to write
    assert not manifest.path.exists()


def test_long_lists_are_in_the_manifest_by_hash(root: Path) -> None:
    files = [f"file-{n}" for n in range(10_000)]
    many = Task("room/one", double, {"files": files, "deep": [{"a": 1}]}, files)
    manifest = Manifest(root)
    manifest.record(many, outputs(), 0)
    manifest.flush()
    assert manifest.path.stat().st_size < 1000
    assert Manifest(root).why_stale(many) is None
    (root / files[7]).write_text("another")
    assert "changed input" in str(Manifest(root).why_stale(many))
    other = Task("room/one", double, {"files": files[1:], "deep": [{"a": 1}]}, files)
    assert "files" in str(Manifest(root).why_stale(other))


def test_a_task_done_again_has_the_hashes_of_its_new_outputs_only(root: Path) -> None:
    manifest = Manifest(root)
    one = Task("room/one", double, {})
    manifest.record(one, outputs(a="1", b="1"), 0)
    manifest.record(one, outputs(b="2"), 0)
    assert manifest.output_hashes() == {"b": "2"}
    reader = Task("room/two", double, {}, ("b", "a.txt"))
    assert manifest.key(reader)["inputs"] == {"b": "2", "a.txt": sha256_bytes(b"x")}


def test_two_writers_of_a_file_leave_one_of_them_whole(tmp_path: Path) -> None:
    path = tmp_path / "both"
    with atomic_write(path, "w") as one, atomic_write(path, "w") as two:
        one.write("one")
        two.write("two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_a_worker_arrives_whole(root: Path) -> None:
    tasks = [Task("room/one", fail, {}), Task("room/two", fail, {})]
    with pytest.raises(DomainLMError) as caught, engine.processes(root, 2, None) as submit:
        list(engine.run_tasks(root, tasks, submit))
    assert (caught.value.fix, caught.value.exit_code) == ("mend it", 3)


def test_a_killed_worker_is_a_clear_error(root: Path) -> None:
    tasks = [Task("room/one", die, {}), Task("room/two", die, {})]
    killed = pytest.raises(DomainLMError, match="a worker process was killed")
    with killed, engine.processes(root, 2, None) as submit:
        list(engine.run_tasks(root, tasks, submit))


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
@pytest.mark.slow
def test_the_hash_of_json_survives_a_round_trip(value: Any) -> None:
    assert sha256_json(json.loads(json.dumps(value))) == sha256_json(value)
