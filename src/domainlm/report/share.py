"""`domainlm verify` and `domainlm share`: is a run what it says it is, and what of it may be sent.

What is sent is chosen by a list of what may go, never by what may not; each byte of it has the hash
that the manifest says.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shlex
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from domainlm.artifacts import Manifest, atomic_write, read_json, sha256_bytes, sha256_json
from domainlm.errors import DIFFERENCE, USAGE, DomainLMError
from domainlm.evaluation import evidence as evidences
from domainlm.evaluation.guests import GUESTS
from domainlm.report import bom, provenance

EVIDENCE, SAMPLES = "evaluation/evidence.json", "evaluation/samples.jsonl"
BOM = "report/bom.cdx.json"
_ARM = r"models/[a-z0-9][a-z0-9_-]*"
SENT = re.compile(
    rf"report/[\w-][\w.-]*|evaluation/(evidence\.json|samples\.jsonl)|{_ARM}/README\.md"
)
WEIGHTS = re.compile(
    rf"{_ARM}/(config|generation_config|tokenizer|tokenizer_config|training)\.json|"
    rf"{_ARM}/model\.safetensors"
)
SPARED = re.compile(  # what a user, a training under way, a tracker or a killed process leaves
    r"^(playground|checkpoints)/|(^|/)(tensorboard/|\.alive-|\.[^/]*\.part$)"
)
STORED = (".png", ".safetensors")  # packed already, or does not pack
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same zip for the same files
PIECE = 1 << 20


def plain(path: str) -> bool:
    """True for a relative path that stays below its folder, on any system that unpacks it."""
    parts = path.split("/")
    return not re.search(r'[\\:*?"<>|\x00-\x1f\x7f]', path) and not {"", ".", ".."} & set(parts)


def differences(root: Path) -> list[str]:
    """All that is not what the run says of itself, a line each; empty for a run that is whole.

    Hashes of all outputs; the Merkle root of the evidence; recipe and guests against the evidence;
    the manifest's own records against the hash in the bill of materials; files that nobody owns.
    """
    strange = [path for path in _unowned(root) if not SPARED.search(path)]
    return _differences(root) + [f"{path}: not in the manifest" for path in strange]


def spared(root: Path) -> list[str]:
    """Files that no record owns and that are no difference, a line each, with what they are."""
    told = {"playground": "yours, from the playground", "checkpoints": "of training not yet done"}
    return [
        f"{path}: not in the manifest ({told.get(path.partition('/')[0], 'left by a process')})"
        for path in _unowned(root)
        if SPARED.search(path)
    ]


def _unowned(root: Path) -> list[str]:
    """The files below `root` that no task made and that are not the run's own."""
    try:
        own = {*Manifest(root).output_hashes(), "manifest.json", "recipe.toml", GUESTS, ".lock"}
    except (DomainLMError, LookupError, TypeError):
        return []  # which is a difference by itself
    found = (p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())
    return sorted({*found} - own)


def _differences(root: Path) -> list[str]:
    """The differences of what the run owns."""
    try:
        return _of_records(root, Manifest(root))
    except (DomainLMError, LookupError, TypeError, AttributeError, ValueError) as error:
        return [f"manifest.json: cannot be read as a manifest ({type(error).__name__}: {error})"]


def _of_records(root: Path, manifest: Manifest) -> list[str]:
    paths = list(manifest.output_hashes())
    if strange := [path for path in paths if not plain(path)]:
        return [f"manifest.json: {path!r} is not a path inside the run" for path in strange]
    found = manifest.differences() + _of_sizes(root, manifest)
    if (root / EVIDENCE).is_file() and not any(line.startswith(EVIDENCE) for line in found):
        found += _of_evidence(root, manifest)
    if BOM in paths and not any(line.startswith(BOM) for line in found):
        bill = read_json(root / BOM)
        if bom.sealed(bill, bom.SEAL) != provenance.seal(manifest):
            found.append("manifest.json: its records are not those that the report was made from")
        if bom.sealed(bill, bom.MERKLE) != manifest.merkle_root(provenance.STAGES):
            found.append("manifest.json: its Merkle root is not that of the bill of materials")
    return found


def _of_sizes(root: Path, manifest: Manifest) -> list[str]:
    return [
        f"{row['path']}: has not the bytes that the manifest counts"
        for task in manifest.tasks.values()
        for row in task["outputs"]
        if (root / row["path"]).is_file() and (root / row["path"]).stat().st_size != row["bytes"]
    ]


def _of_evidence(root: Path, manifest: Manifest) -> list[str]:
    """What stands beside the evidence and is repeated in it: Merkle root, recipe, guests."""
    about, found = read_json(root / EVIDENCE), []
    merkle = about["corpus"].get("merkle_root", "")
    if merkle not in ("", manifest.merkle_root(provenance.STAGES[:3])):
        found.append("manifest.json: its Merkle root is not that of the evidence")
    recipe = root / "recipe.toml"
    if not recipe.is_file() or recipe.read_bytes() != about["recipe"].encode():
        found.append("recipe.toml: is not the recipe that the evidence was made with")
    guests = [
        {"name": name, **{key: model[key] for key in ("source", "title", "sha256", "notes")}}
        for name, model in about["models"].items()
        if model["role"] == "other"
    ]
    text = json.dumps(guests, indent=1, ensure_ascii=False) + "\n"
    there = (root / GUESTS).read_bytes() if (root / GUESTS).is_file() else b""
    if there != (text.encode() if guests else b""):
        found.append(f"{GUESTS}: is not the list of the guests in the evidence")
    return found


@dataclasses.dataclass(frozen=True)
class Shared:
    """A zip that was written: the names in it, and what whoever sends it must know."""

    path: Path
    names: list[str]
    notes: list[str]


def share(root: Path, target: Path | None = None, weights: bool = False) -> Shared:
    """Zip what may be sent of a run into `target` (default: NAME-share.zip beside the run).

    Report, cards, evidence, samples, and the manifest without arguments; with `weights` the models
    too. Never corpus, tokens or documents. The same bytes for the same run. Raises `DomainLMError`
    where the run is unfinished, differs from its manifest (exit code 4), or a file is a link.
    """
    root = root.resolve()
    if not (root / "manifest.json").is_file() or not (root / EVIDENCE).is_file():
        raise DomainLMError(
            "there is no finished run to share",
            where=str(root),
            why="it has no manifest or no evidence",
            fix="finish it with domainlm run, then share it",
            exit_code=USAGE,
        )
    if wrong := _differences(root):  # what no record owns is not sent
        raise DomainLMError(
            f"{len(wrong)} things of the run are not what it says, so nothing was shared",
            where=str(root),
            why="; ".join(wrong[:3]),
            fix="domainlm verify RUN names all; domainlm run or domainlm report makes them again",
            exit_code=DIFFERENCE,
        )
    manifest = Manifest(root)
    known = manifest.output_hashes()
    chosen = sorted(
        path for path in known if SENT.fullmatch(path) or (weights and WEIGHTS.fullmatch(path))
    )
    name = root.name if re.fullmatch(r"[\w-][\w.-]*", root.name) else "run"
    target = target or root.parent / f"{name}-share.zip"
    records = (json.dumps(_records(manifest), indent=1, ensure_ascii=False) + "\n").encode()
    sums = {**{path: known[path] for path in chosen}, "manifest.json": sha256_bytes(records)}
    listed = "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode()
    with atomic_write(target) as file, zipfile.ZipFile(file, "w") as archive:
        for path in chosen:
            _add(archive, f"{name}/{path}", root, path, known[path])
        for path, content in (("SHA256SUMS", listed), ("manifest.json", records)):
            archive.writestr(_info(f"{name}/{path}"), content)
        names = archive.namelist()
    return Shared(target, names, _notes(root))


def _records(manifest: Manifest) -> dict[str, Any]:
    """The manifest without what tasks were given: that names folders of this machine."""
    tasks = {
        name: {
            "key_sha256": sha256_json(task["key"]),
            **{key: task[key] for key in ("outputs", "seconds", "ended") if key in task},
        }
        for name, task in manifest.tasks.items()
    }
    return {**manifest.data, "tasks": tasks}


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system, info.external_attr = 3, 0o100644 << 16  # a plain file, as on Unix
    info.compress_type = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
    return info


def _add(archive: zipfile.ZipFile, name: str, root: Path, path: str, sha256: str) -> None:
    """Copy one file into the zip while hashing it, so that what goes is what was verified."""
    digest = hashlib.sha256()
    info = _info(name)
    with _opened(root, path) as source:
        info.file_size = os.fstat(source.fileno()).st_size  # beyond 2 GiB the format changes
        with archive.open(info, "w") as sink:
            while piece := source.read(PIECE):
                digest.update(piece)
                sink.write(piece)
    if digest.hexdigest() != sha256:
        raise DomainLMError("a file changed while it was read", where=path, exit_code=DIFFERENCE)


@contextlib.contextmanager
def _opened(root: Path, path: str) -> Iterator[IO[bytes]]:
    """Open a plain file below `root`, following no link in any part of `path`."""
    *folders, last = path.split("/")
    with contextlib.ExitStack() as stack:
        try:
            at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, at)
            for folder in folders:
                at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                stack.callback(os.close, at)
            handle = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        except OSError as error:
            raise _not_plain(path) from error
        file = stack.enter_context(os.fdopen(handle, "rb"))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _not_plain(path)
        yield file


def _not_plain(path: str) -> DomainLMError:
    return DomainLMError(
        "a file to share is not a plain file of the run",
        where=path,
        why="it, or a folder on its way, is a link or something else",
        fix="put the file itself in its place",
        exit_code=DIFFERENCE,
    )


def _notes(root: Path) -> list[str]:
    """What stands in the files that are sent and that the sender may not think of."""
    found = evidences.load(root)
    with open(root / SAMPLES, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    texts = {r["prompt_id"]: r["prompt"] + (r["true_text"] or "") for r in rows}
    notes = []
    if texts:
        longest = max(map(len, texts.values()))
        notes.append(
            f"the report and samples.jsonl quote {len(texts)} openings, of held-out documents or "
            f"of general use (up to {longest:,} characters of each), and what models made of them"
        )
    told = [provenance.recipe_of(found), _words(found.command)]
    paths = sorted(set(_paths([*told, *(model.source for model in found.models.values())])))
    if paths:
        notes.append("evidence and report name folders of this machine: " + ", ".join(paths))
    return notes


def _words(command: str) -> list[str]:
    try:
        return [part.partition("=")[2] or part for part in shlex.split(command)]
    except ValueError:
        return command.split()


def _paths(value: Any) -> Iterator[str]:
    """The strings in a JSON value that are absolute paths."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _paths(part)
    elif isinstance(value, str) and (bom.public(value) != value):
        yield value
