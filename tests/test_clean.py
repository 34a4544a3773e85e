"""The corpus stage with its switches on: what goes, what the ledger says of it, what joins."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from domainlm import pipeline, recipes
from domainlm.artifacts import Manifest, Run, read_json
from domainlm.corpus import documents, stage
from domainlm.corpus.documents import Document
from domainlm.errors import DomainLMError
from small import command, domainlm

WORDS = """
    valve pump boiler turbine filter gasket sensor meter rose fell grew demand price weather plant
    import market order margin cost labor steel copper freight debt cash lease report
""".split()  # noqa: SIM905


def prose(seed: object, words: int = 400) -> str:
    """Invented sentences, different for each seed, in lines of about forty words."""
    rng = random.Random(str(seed))
    lines = []
    for _ in range(words // 40):
        some = [rng.choice(WORDS) for _ in range(38)]
        lines.append(f"The {' '.join(some[:19])} of the {' '.join(some[19:])}.")
    return "\n".join(lines)


def edited(text: str, share: float, seed: object = 1) -> str:
    """`text` with this share of its words replaced."""
    rng = random.Random(str(seed))
    pieces = text.split(" ")
    for n in rng.sample(range(len(pieces)), int(share * len(pieces))):
        pieces[n] = f"word{n}"
    return " ".join(pieces)


def write(top: Path, name: str, text: str) -> None:
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    (top / name).write_text(text)


def write_groups(top: Path, groups: int = 8, years: int = 5) -> None:
    for group in range(groups):
        for year in range(2016, 2016 + years):
            write(top, f"firm-{group}/{year}-03-01.txt", prose((group, year)))


def run_corpus(folder: Path, *overrides: str) -> Run:
    """The stage `corpus` over `folder/text`, in `folder/runs/t`."""
    given = [f'source.path="{folder}/text"', "evaluate.stock=[]", "engine.workers=1"]
    loaded = recipes.load("folder", [*given, "split.cut=2019-01-01", *overrides])
    run = pipeline.start(loaded, folder / "runs", "t", True, "domainlm run")
    pipeline.execute(run, "corpus")
    return run


def rows(run: Run) -> list[Document]:
    return list(documents.read(documents.paths(run.root)))


def ledger(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = read_json(run.root / "corpus/ledger.json")
    return found


def adds_up(run: Run, on_disk: int) -> None:
    """Input, what went for each reason and what is kept are the same bytes; kept is measured."""
    book = ledger(run)
    assert book["input"]["bytes"] == on_disk
    gone = sum(s["bytes"] for s in book["skipped"].values()) + sum(book["removed"].values())
    gone += sum(n["bytes"] for part in ("lines", "dropped") for n in book[part].values())
    gone += sum(book[p]["bytes"] for p in ("duplicates", "near_duplicates", "paragraphs"))
    assert on_disk == gone + book["kept"]["bytes"]
    kept = rows(run)
    assert book["kept"]["bytes"] == sum(len(d.text.encode()) for d in kept)
    for split, counts in book["splits"].items():
        own = [d for d in kept if d.split == split]
        size = sum(len(d.text.encode()) for d in own)
        groups = len({d.group for d in own})
        assert counts == {"documents": len(own), "groups": groups, "bytes": size}


def everything_on(top: Path) -> list[str]:
    """A corpus with something for every rule, and the settings; returns the overrides."""
    for group in range(8):
        for year in range(2016, 2021):
            mail = f"Write to office{group}{year}@firm{group}.com or pay 4111 1111 1111 1111."
            body = f"{prose((group, year))}\n{mail}"
            text = [f"Firm {group} annual letter, page {year - 2010}", body]
            text += ["All rights reserved by the printers of this page.", "Müller & Söhne, café."]
            write(top, f"firm-{group}/{year}-03-01.txt", "\n\n".join(text))
    for year in range(2016, 2019):
        again = edited(prose((3, 2016)), 0.005, year)
        write(top, f"firm-3/{year}-06-01.txt", again)
        write(
            top,
            f"firm-1/{year}-07-01.txt",
            prose("repeated", 80) + f"\n\n{prose(year)}",
        )
    write(top, "firm-0/2017-09-01.txt", "too short")
    french = "Le conseil de la société est très heureux de vous présenter les comptes de l'année. "
    write(top, "firm-2/2017-09-01.txt", "".join(french + f"Page {n}. " for n in range(30)))
    write(top, "firm-4/copy-2017-03-01.txt", (top / "firm-4/2017-03-01.txt").read_text())
    (top / "firm-0/empty.txt").touch()
    return [
        "clean.furniture=0.6", "clean.boilerplate=0.8", "duplicates.near=newest",
        'clean.rules=["gopher_word_count", "gopher_mean_word_length"]', 'clean.languages=["en"]',
        "duplicates.paragraphs=1", "privacy.mode=mask",
    ]  # fmt: skip


def size_of(top: Path) -> int:
    return sum(f.stat().st_size for f in top.rglob("*") if f.is_file())


def test_with_everything_on_the_ledger_adds_up(tmp_path: Path) -> None:
    run = run_corpus(tmp_path, *everything_on(tmp_path / "text"))
    adds_up(run, size_of(tmp_path / "text"))
    book = ledger(run)
    assert book["lines"]["boilerplate"]["lines"] >= 40 and book["lines"]["furniture"]["lines"] >= 40
    assert book["dropped"]["gopher_word_count"]["documents"] == 1
    assert book["dropped"]["language"]["documents"] == 1
    assert book["duplicates"]["documents"] == 1 and book["near_duplicates"]["documents"] >= 2
    assert book["paragraphs"]["paragraphs"] >= 1
    assert book["privacy"]["found"]["email"] >= 40
    assert book["privacy"]["found"]["card"] >= 40
    assert not any("office" in x for x in book["privacy"]["examples"]["email"])
    for document in rows(run):
        assert "All rights reserved" not in document.text and "annual letter" not in document.text
        assert "@firm" not in document.text and "4111" not in document.text
    masked = next(d for d in rows(run) if d.uri == "firm-1/2016-03-01.txt")
    assert "Write to [EMAIL] or pay [" in masked.text and "Söhne, café" not in masked.text


@pytest.mark.slow
def test_the_parts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = everything_on(tmp_path / "text")
    whole = rows(run_corpus(tmp_path, *overrides))
    monkeypatch.setattr(stage, "PART_BYTES", 1)
    monkeypatch.setattr(documents, "GROUP_ROWS", 7)
    again = tmp_path / "again"
    again.mkdir()
    (again / "text").symlink_to(tmp_path / "text")
    run = run_corpus(again, *overrides)
    assert len(documents.paths(run.root)) > 3
    assert rows(run) == whole


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_files(tmp_path: Path) -> None:
    """SIGKILL of the whole process group at random moments, then once more to the end."""
    overrides = everything_on(tmp_path / "text")
    sets = [word for o in overrides for word in ("--set", o)]
    sets += ["--set", "evaluate.stock=[]", "--set", "split.cut=2019-01-01", "--offline"]
    base = ["run", "folder", "--corpus", str(tmp_path / "text"), "--until", "corpus", *sets]
    domainlm(*base, "--name", "whole", cwd=tmp_path)
    expected = Manifest(tmp_path / "runs/whole").output_hashes()
    rng = random.Random(4)
    for _ in range(6):
        process = subprocess.Popen(
            command(*base, "--name", "killed"), cwd=tmp_path, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        time.sleep(rng.uniform(0.8, 5))
        with contextlib.suppress(ProcessLookupError):  # it may be done
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    domainlm(*base, "--name", "killed", cwd=tmp_path)
    assert Manifest(tmp_path / "runs/killed").output_hashes() == expected


@pytest.mark.parametrize("mode", ["report", "mask", "drop", "off"])
@pytest.mark.slow
def test_the_modes_of_privacy(tmp_path: Path, mode: str) -> None:
    write_groups(tmp_path / "text")
    write(tmp_path / "text", "firm-0/2017-09-01.txt", prose("mail") + "\nMail anna.b@firm.com now.")
    run = run_corpus(tmp_path, f"privacy.mode={mode}")
    adds_up(run, size_of(tmp_path / "text"))
    found = {d.uri: d.text for d in rows(run)}
    text = found.get("firm-0/2017-09-01.txt")
    assert (text is None) == (mode == "drop")
    if text is not None:
        assert ("anna.b@firm.com" in text) == (mode != "mask")
        assert ("[EMAIL]" in text) == (mode == "mask")
    counted = {} if mode == "off" else {"email": 1}
    assert ledger(run)["privacy"]["found"] == counted
    assert ledger(run)["dropped"].get("privacy", {"documents": 0})["documents"] == (mode == "drop")


RECOGNIZER = """
import re
def badges(text):
    for match in re.finditer(r"badge \\d+", text):
        yield "badge", match.start(), match.end()
"""


@pytest.mark.slow
def test_a_recognizer_of_ones_own_and_a_change_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "house_rules.py").write_text(RECOGNIZER)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_groups(tmp_path / "text")
    write(tmp_path / "text", "firm-0/2017-09-01.txt", prose("b") + "\nShe has badge 4711 on her.")
    asked = ("privacy.mode=mask", "privacy.recognizer=house_rules:badges")
    run = run_corpus(tmp_path, *asked)
    text = next(d.text for d in rows(run) if d.uri == "firm-0/2017-09-01.txt")
    assert "She has [BADGE] on her." in text
    assert ledger(run)["privacy"]["found"] == {"badge": 1}
    (tmp_path / "house_rules.py").write_text(RECOGNIZER + "# changed\n")
    sys.modules.pop("house_rules")
    again = pipeline.start(run.recipe, tmp_path / "runs", "t", True, "domainlm run")
    assert any("clean" in reason for reason in pipeline.plan(again)[0].reasons)


@pytest.mark.slow
def test_co_registrants_and_renamed_firms_go_to_one_side(tmp_path: Path) -> None:
    """Whatever the seed: no unseen document is a near-duplicate of one that is trained on."""
    top = tmp_path / "text"
    write_groups(top, groups=9)
    for year in range(2016, 2021):  # firm-a and firm-b file the same report, but for their names
        for name in ("firm-a", "firm-b"):
            write(top, f"{name}/{year}-03-01.txt", edited(prose(("both", year)), 0.01, name))
    for name in ("firm-a", "firm-c", "firm-d", "firm-1", "firm-2", "firm-3", "firm-4"):
        write(top, f"{name}/2019-05-05.txt", edited(prose("a licence that many have"), 0.01, name))
    sides = set()
    for seed in range(5):
        run = run_corpus(tmp_path, f"split.seed={seed}", "split.unseen=0.3")
        found = rows(run)
        unseen = {d.group for d in found if d.split in ("unseen", "unused")}
        assert unseen & {"firm-a", "firm-b"} in (set(), {"firm-a", "firm-b"})
        sides.add("firm-a" in unseen)
        shingles = {d.id: grams(d.text) for d in found}
        for held in (d for d in found if d.split == "unseen"):
            for train in (d for d in found if d.split in ("train", "validation")):
                a, b = shingles[held.id], shingles[train.id]
                assert len(a & b) / len(a | b) < 0.8, (held.uri, train.uri)
        assert ledger(run)["links"]["joined_groups"] == 2
    assert sides == {True, False}


def grams(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = text.lower().replace(".", "").split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


@pytest.mark.slow
def test_leakage_over_the_limit_is_exit_3_with_the_pairs(tmp_path: Path) -> None:
    """A part of a trained document, too small to be a near-duplicate, is all of an unseen one.

    And groups are named by markup of every kind.
    """
    top = tmp_path / "text"
    write_groups(top, groups=10)
    for n in range(10):
        (top / f"firm-{n}").rename(top / f"<b onload='x'>[red]{n}[&amp;]")
    base = ["run", "folder", "--corpus", str(top), "--until", "corpus", "--offline"]
    base += ["--set", "evaluate.stock=[]", "--set", "split.cut=2019-01-01"]
    domainlm(*base, cwd=tmp_path)
    run = tmp_path / "runs/folder"
    found = list(documents.read(documents.paths(run)))
    group = next(d.group for d in found if d.split == "unseen")
    source = next(d for d in found if d.split == "train")
    stolen = " ".join(source.text.split()[100:200])
    write(top, f"{group}/2020-11-11.txt", stolen)
    done = domainlm(*base, cwd=tmp_path, code=3)
    said = done.stderr.replace("\n", "")
    assert f"{group}/2020-11-11.txt" in said and source.uri in said
    assert "13-grams" in said
    audit = read_json(run / "corpus/audit.json")["splits"]["unseen"]
    assert audit["over"] == 1 and audit["max"] > 0.95
    domainlm(*base, "--set", "split.leakage=1.0", cwd=tmp_path)  # the limit is the recipe's


def test_nothing_left_names_the_rules(tmp_path: Path) -> None:
    write_groups(tmp_path / "text", groups=3, years=2)
    with pytest.raises(DomainLMError, match="nothing is left of the corpus"):
        run_corpus(tmp_path, 'clean.languages=["ja"]')


@pytest.mark.slow
def test_dates_are_not_needed(tmp_path: Path) -> None:
    write_groups(tmp_path / "text")
    given = [f'source.path="{tmp_path}/text"', "evaluate.stock=[]", "source.date=nothing"]
    run = pipeline.start(
        recipes.load("folder", given), tmp_path / "runs", "t", True, "domainlm run"
    )
    pipeline.execute(run, "corpus")
    assert {d.date for d in rows(run)} == {None}
    assert {d.split for d in rows(run)} >= {"train", "unseen"}
    assert any("no dates" in said for said in ledger(run)["promises"])
