"""What is shared is what was verified, and nothing else; verify finds every byte that changed."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.artifacts import Manifest, sha256_bytes, sha256_file
from domainlm.errors import DIFFERENCE, USAGE, DomainLMError
from domainlm.report import share
from provenance_helpers import finished_run
from report_examples import example

SENT = {
    "SHA256SUMS", "manifest.json", "evaluation/evidence.json", "evaluation/samples.jsonl",
    "report/index.html", "report/headline.png", "report/post.md", "report/provenance.md",
    "report/bom.cdx.json", "models/scratch/README.md", "models/continued/README.md",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "demo"
    finished_run(root)
    return root


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run of its own for each test, since tests damage it."""
    return Path(shutil.copytree(made, tmp_path / "runs" / "demo"))


def unpacked(shared: share.Shared) -> dict[str, bytes]:
    with zipfile.ZipFile(shared.path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def refused(root: Path) -> DomainLMError:
    with pytest.raises(DomainLMError) as caught:
        share.share(root)
    assert not (root.parent / f"{root.name}-share.zip").exists()
    assert not list(root.parent.glob(".*.part"))
    return caught.value


def flip(path: Path, place: int) -> Callable[[], int]:
    """Change one bit of a file; returns what puts it back."""
    data = path.read_bytes()
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    return lambda: path.write_bytes(data)


# --- what goes ------------------------------------------------------------------------------


def test_the_zip_holds_what_may_go_and_nothing_of_the_corpus(made: Path, run: Path) -> None:
    found = unpacked(share.share(run))
    assert set(found) == {f"demo/{name}" for name in SENT}
    for name, content in found.items():
        path = name.removeprefix("demo/")
        if path not in ("SHA256SUMS", "manifest.json"):
            assert content == (run / path).read_bytes()
        assert b"secret text" not in content and b"names of documents" not in content
        assert str(made.parent).encode() not in content
    sums = dict(line.split("  ")[::-1] for line in found["demo/SHA256SUMS"].decode().splitlines())
    assert set(sums) == SENT - {"SHA256SUMS"}
    assert all(sha256_bytes(found[f"demo/{path}"]) == known for path, known in sums.items())


def test_weights_go_only_where_asked_for(run: Path) -> None:
    with_weights = set(unpacked(share.share(run, weights=True)))
    files = {"model.safetensors", "config.json", "training.json", "tokenizer.json"}
    more = {f"demo/models/{arm}/{file}" for arm in ("scratch", "continued") for file in files}
    assert with_weights == {f"demo/{name}" for name in SENT} | more


def test_the_manifest_that_goes_names_every_output_and_no_argument(run: Path) -> None:
    sent = json.loads(unpacked(share.share(run))["demo/manifest.json"])
    for name, task in Manifest(run).tasks.items():
        assert sent["tasks"][name]["outputs"] == task["outputs"]
        assert set(sent["tasks"][name]) == {"key_sha256", "outputs", "seconds", "ended"}
    assert sent["environment"] == Manifest(run).data["environment"]


def test_the_same_run_gives_the_same_zip(run: Path, tmp_path: Path) -> None:
    first = share.share(run, tmp_path / "a.zip").path.read_bytes()
    for path in run.rglob("*"):
        os.utime(path, (0, 0))
    assert share.share(run, tmp_path / "b.zip").path.read_bytes() == first
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}
        archive.extractall(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"demo"}


def test_what_the_sender_must_know_is_said(run: Path, tmp_path: Path) -> None:
    [note] = share.share(run).notes
    assert "quote 3 openings" in note and "characters of each" in note
    recipe = example().recipe.replace("sample:edgar", "/data/ours/filings")
    finished_run(tmp_path / "other", recipe=recipe)
    _, paths = share.share(tmp_path / "other").notes
    assert "/data/ours/filings" in paths and "models/scratch" not in paths


def test_a_strange_folder_name_does_not_become_a_path(run: Path) -> None:
    strange = run.rename(run.parent / "a b;c")
    shared = share.share(strange)
    assert shared.path.name == "run-share.zip"
    assert all(name.startswith("run/") for name in shared.names)


# --- what is refused ------------------------------------------------------------------------


def test_a_run_that_differs_is_not_shared(run: Path) -> None:
    flip(run / "tokens/train-00000.bin", 0)  # not even a file that would go
    error = refused(run)
    assert error.exit_code == DIFFERENCE and "tokens/train-00000.bin" in str(error)


def test_what_is_no_finished_run_is_not_shared(tmp_path: Path) -> None:
    assert refused(tmp_path).exit_code == USAGE


@pytest.mark.parametrize("link", ["report/post.md", "report", "models/scratch/README.md"])
def test_a_link_is_not_followed_even_to_the_same_bytes(
    run: Path, tmp_path: Path, link: str
) -> None:
    outside = tmp_path / "outside"
    (run / link).rename(outside)
    (run / link).symlink_to(outside)
    assert share.differences(run) == []
    assert "not a plain file" in str(refused(run))


@pytest.mark.parametrize(
    "path",
    ["../secret", "report/../../secret", "/etc/hostname", r"report\..\x", "C:x", "report//x",
     "report/./x", "report/a\nb", ""],
)  # fmt: skip
def test_a_hostile_path_in_the_manifest_is_never_read(
    run: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    manifest = Manifest(run)
    row = {"path": path, "bytes": 3, "rows": None, "sha256": "0" * 64}
    manifest.tasks["report/page"]["outputs"].append(row)
    manifest.save()
    read: list[object] = []
    monkeypatch.setattr("domainlm.artifacts.sha256_file", read.append)
    assert "is not a path inside the run" in share.differences(run)[0]
    assert refused(run).exit_code == DIFFERENCE and not read


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.c", "C:", "\\", "~", "a b"]), min_size=1))
@settings(max_examples=60)
def test_a_plain_path_stays_inside_on_every_system(parts: list[str]) -> None:
    path = "/".join(parts)
    if not share.plain(path):
        return
    assert ".." not in PurePosixPath(path).parts and not PurePosixPath(path).is_absolute()
    windows = PureWindowsPath(path)
    assert ".." not in windows.parts and not windows.drive and not windows.root
    assert (PurePosixPath("x") / path).parts == ("x", *parts)


# --- verify ---------------------------------------------------------------------------------


def test_a_whole_run_has_no_differences(run: Path) -> None:
    assert share.differences(run) == []


def test_one_flipped_bit_of_any_file_is_found(run: Path) -> None:
    for path in sorted(p for p in run.rglob("*") if p.is_file() and p.name != "manifest.json"):
        back = flip(path, path.stat().st_size // 2)
        assert share.differences(run), path.relative_to(run)
        back()
    assert share.differences(run) == []


@pytest.mark.slow
def test_one_flipped_bit_of_the_manifest_is_found(run: Path) -> None:
    """Wherever it is, but for the report's own record: only the hashes in it can be checked."""
    path = run / "manifest.json"
    data = path.read_bytes()
    start = data.index(b'"report/page"')
    places = [
        *range(0, start, 41),
        data.rindex(b'"sha256"') + 14,
        data.index(b'"path"', start) + 12,
    ]
    for place in places:
        back = flip(path, place)
        assert share.differences(run), f"byte {place}: {data[place - 20 : place + 20]!r}"
        back()


def test_a_file_that_nobody_owns_is_found(run: Path) -> None:
    spared = {"playground/votes.jsonl": "yours", "checkpoints/scratch/00000100.pt": "not yet done",
              "models/scratch/tensorboard/events": "process", ".alive-1": "process",
              "corpus/.a.parquet.ab12.part": "process", ".lock": ""}  # fmt: skip
    for path in (*spared, "models/scratch/pytorch_model.bin", "corpus/.hidden"):
        (run / path).parent.mkdir(parents=True, exist_ok=True)
        (run / path).write_bytes(b"stray")
    (run / "report/link").symlink_to("nowhere")
    assert share.differences(run) == [
        f"{path}: not in the manifest"
        for path in ("corpus/.hidden", "models/scratch/pytorch_model.bin", "report/link")
    ]
    said = dict(line.split(": ", 1) for line in share.spared(run))
    assert set(said) == {path for path, what in spared.items() if what}
    assert all(what in said[path] for path, what in spared.items() if what)
    assert not [name for name in share.share(run).names if "stray" in name or "pytorch" in name]


def test_a_file_that_went_or_was_added_to_is_found(run: Path) -> None:
    for path in ("report/index.html", "corpus/ledger.json", "recipe.toml"):
        data = (run / path).read_bytes()
        (run / path).unlink()
        assert any(line.startswith(f"{path}:") for line in share.differences(run)), path
        (run / path).write_bytes(data + b" ")
        assert any(line.startswith(f"{path}:") for line in share.differences(run)), path
        (run / path).write_bytes(data)
    (run / "evaluation/guests.json").write_text("[]\n")
    assert any("guests" in line for line in share.differences(run))


def test_guests_are_checked_against_the_evidence(tmp_path: Path) -> None:
    models = {n: m.model_dump() for n, m in example().models.items()}
    models["other"] = {**models["stock"], "role": "other", "title": "A guest"}
    root = tmp_path / "guested"
    finished_run(root, models=models)
    assert share.differences(root) == []
    size = (root / "evaluation/guests.json").stat().st_size
    for place in range(0, size, 17):
        back = flip(root / "evaluation/guests.json", place)
        assert any("guests" in line for line in share.differences(root)), place
        back()


def test_a_report_of_another_evidence_is_found(run: Path) -> None:
    """The files are whole each by itself, but the report was made from other records."""
    manifest = Manifest(run)
    path = run / "evaluation/documents.parquet"
    path.write_bytes(b"PAR1 other names")
    for row in manifest.tasks["evaluation/evidence"]["outputs"]:
        if row["path"] == "evaluation/documents.parquet":
            row |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    manifest.save()
    assert [line.partition(":")[0] for line in share.differences(run)] == ["manifest.json"] * 2


def test_every_file_of_a_real_run_is_covered(finished: Path, tmp_path: Path) -> None:
    """One file of each kind that a run of the whole pipeline leaves."""
    root = Path(shutil.copytree(finished / "runs" / "small", tmp_path / "small"))
    assert share.differences(root) == []
    kinds: dict[str, Path] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.stat().st_size):
        name = path.relative_to(root).as_posix()
        kinds.setdefault("".join(c for c in name if not c.isdigit()), path)
    for kind, path in kinds.items():
        if kind == "manifest.json":
            continue
        back = flip(path, path.stat().st_size // 2)
        assert share.differences(root), kind
        back()
    shared = share.share(root)
    assert "small/report/index.html" in shared.names
    assert not [n for n in shared.names if n.split("/")[1] in ("corpus", "tokens")]
    assert all(not n.endswith((".parquet", ".bin", ".safetensors")) for n in shared.names)
