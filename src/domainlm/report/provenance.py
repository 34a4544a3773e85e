"""Where a run comes from: data, hardware, software, and what a model gave away of its text.

Facts that were recorded and facts that the user declares are told apart in every sentence. Nothing
here is a claim of conformity with a law, a standard or a policy.
"""

import dataclasses
import datetime
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domainlm.artifacts import Manifest, read_json, sha256_json
from domainlm.console import clean
from domainlm.evaluation.copies import ANY
from domainlm.evaluation.evidence import Evidence, Memorization
from domainlm.report import inventory, view, words
from domainlm.report.numbers import percent, plural

STAGES = ("corpus", "tokens", "training", "evaluation")  # what the report is made from
NOT_DECLARED, NOT_RECORDED = "not declared", "not recorded"
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~&$])")


def escape(text: str) -> str:
    """`text` on one line, with everything that Markdown would read as markup made plain."""
    return _MARKUP.sub(r"\\\1", view.one_line(text))


@dataclasses.dataclass(frozen=True)
class Declared:
    """What the recipe's `[provenance]` says: the user's word, which nothing here has checked."""

    licence: str = ""  # of the text
    terms: str = ""  # under which it was got
    accessed: str = ""  # when
    attestation: str = ""  # such as "own hardware, public data"
    attested_by: str = ""
    model_licence: str = ""  # of the models trained here


def recipe_of(evidence: Evidence) -> dict[str, Any]:
    """The recipe in the evidence; empty where it is not TOML."""
    try:
        return tomllib.loads(evidence.recipe)
    except tomllib.TOMLDecodeError:
        return {}


def declared(evidence: Evidence) -> Declared:
    """The declarations in the evidence's recipe, each on one line."""
    table = recipe_of(evidence).get("provenance")
    given = table if isinstance(table, dict) else {}
    names = [field.name for field in dataclasses.fields(Declared)]
    return Declared(**{name: _plain(given.get(name) or "") for name in names})


def _plain(value: Any) -> str:
    return view.one_line(clean(str(value)))


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a run's files say beside its evidence. Times are ISO 8601 in UTC, to the second."""

    environment: Mapping[str, str]  # of the manifest
    software: Mapping[str, str]  # distribution -> version
    times: Mapping[str, tuple[str, str]]  # stage -> began, ended; a stage without times is left out
    outputs: Mapping[str, str]  # path -> SHA-256, of all stages before the report
    merkle_root: str  # over these
    seal: str  # of the manifest's records of these stages
    training: Mapping[str, Mapping[str, Any]]  # arm -> training.json
    architectures: Mapping[str, str]  # arm -> class of the model


def seal(manifest: Manifest) -> str:
    """SHA-256 of all that the manifest records of the stages before the report, and where.

    It stands in the bill of materials, so that `verify` finds a byte of the manifest that changed.
    """
    parts = {key: value for key, value in manifest.data.items() if key != "tasks"}
    tasks = {n: t for n, t in manifest.tasks.items() if n.partition("/")[0] in STAGES}
    return sha256_json({**parts, "tasks": tasks})


def gather(root: Path, evidence: Evidence) -> Facts:
    """Read the facts of a run from its manifest and its models' folders."""
    manifest = Manifest(root)
    tasks = [(n.partition("/")[0], t) for n, t in manifest.tasks.items()]
    before = [(stage, task) for stage, task in tasks if stage in STAGES]
    training, architectures = {}, {}
    for arm in view.arms(evidence):
        folder = root / "models" / arm
        if (folder / "training.json").is_file():
            facts = read_json(folder / "training.json")
            training[arm] = {k: _plain(v) if isinstance(v, str) else v for k, v in facts.items()}
        if (folder / "config.json").is_file():
            found = read_json(folder / "config.json").get("architectures") or ["unknown"]
            architectures[arm] = _plain(found[0])
    return Facts(
        environment={k: _plain(v) for k, v in manifest.data.get("environment", {}).items()},
        software=manifest.data.get("software") or inventory.software(),
        times={s: span for s in STAGES if (span := _span([t for at, t in before if at == s]))},
        outputs={o["path"]: o["sha256"] for _, task in before for o in task["outputs"]},
        merkle_root=manifest.merkle_root(STAGES),
        seal=seal(manifest),
        training=training,
        architectures=architectures,
    )


def _span(tasks: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """From the first task's begin to the last one's end; None where a time is missing."""
    if not tasks or not all(task.get("ended") for task in tasks):
        return None
    ends = [datetime.datetime.fromisoformat(task["ended"]) for task in tasks]
    begins = [
        end - datetime.timedelta(seconds=task["seconds"])
        for end, task in zip(ends, tasks, strict=True)
    ]
    return min(begins).isoformat(timespec="seconds"), max(ends).isoformat(timespec="seconds")


def data_lines(evidence: Evidence, facts: Facts | None = None) -> list[str]:
    """The data statement, a sentence a line."""
    c, nouns, said = evidence.corpus, view.nouns(evidence), declared(evidence)
    parts = ", ".join(
        f"{name} {words.plural(n['documents'], nouns.document, nouns.documents)}"
        for name, n in c.splits.items()
    )
    skipped = sum(n["files"] for n in c.skipped.values())
    lines = [
        f"Source: {c.source}, {words.plural(c.files, 'file', 'files')} ({words.size(c.bytes)}), "
        f"of which {words.count(skipped)} were skipped for a stated reason.",
        f"Licence of the text: {_word(said.licence)}.",
        f"Terms under which it was got: {_word(said.terms)}.",
        f"Accessed: {_word(said.accessed)}. {_read_at(facts)}",
        f"Kept: {words.plural(c.documents, nouns.document, nouns.documents)} "
        f"({words.size(c.text_bytes)} of text) of "
        f"{words.plural(c.groups, nouns.group, nouns.groups)}; {words.count(c.duplicates)} "
        f"duplicates were dropped.",
        f"Split: {parts or words.NOT_MEASURED}.",
        f"Scored held-out text, SHA-256: {evidence.held_out_sha256}.",
    ]
    if c.merkle_root:
        lines.append(
            f"Merkle root (RFC 6962) of every file of corpus, tokens and training: "
            f"{c.merkle_root}. The corpus files hold the SHA-256 of each source they came from."
        )
    return lines + data(evidence)


def data(evidence: Evidence) -> list[str]:
    """What the split promises, what the audit found, what was joined, and personal data."""
    c = evidence.corpus
    said = list(c.promises)
    if c.audit and {"unseen", "random"} <= set(c.audit.splits):
        unseen, random = c.audit.splits["unseen"], c.audit.splits["random"]
        said.append(
            f"Half of the unseen documents have at most {percent(unseen.median)} of their "
            f"{c.audit.n}-grams of words in train, and none more than {percent(unseen.max)}; after "
            f"a random split of the same documents it would be {percent(random.median)} and "
            f"{percent(random.max)}."
        )
    if c.audit and (over := c.audit.splits.get("unseen")) and over.over:
        said.append(
            f"{plural(over.over, 'unseen document is', 'unseen documents are')} above the "
            f"recipe's limit of {percent(c.audit.limit)}: the figures for unseen text flatter."
        )
    if joined := c.links.get("joined_groups"):
        said.append(
            f"{plural(joined, 'group was', 'groups were')} joined to others by near-duplicates, "
            f"and went to one side of the split with them."
        )
    return said + personal(evidence)


def personal(evidence: Evidence) -> list[str]:
    """What personal data was found in the text that was read, and what was done with it."""
    privacy = evidence.corpus.privacy
    if privacy is None:
        return []
    if privacy.mode == "off":
        return ["Personal data in the text that was read was not looked for."]
    did = {"report": "left as they are", "mask": "masked", "drop": "dropped with their document"}
    names = {"phone": "phone number", "email": "e-mail address", "ip": "IP address",
             "ssn": "social security number", "card": "card number", "iban": "IBAN"}  # fmt: skip
    kinds = []
    for kind, number in sorted(privacy.found.items()):
        name = names.get(kind, kind)
        kinds.append(plural(number, name, f"{name}{'es' if name.endswith('s') else 's'}"))
    told = ", ".join(kinds) or "none found"
    return [f"Personal data and secrets in the text that was read, {did[privacy.mode]}: {told}."]


def _word(text: str) -> str:
    return f"“{text}” (declared by the user, not checked)" if text else NOT_DECLARED


def _read_at(facts: Facts | None) -> str:
    span = facts.times.get("corpus") if facts else None
    if span is None:
        return f"When this run read it: {NOT_RECORDED}."
    return f"This run read it between {span[0]} and {span[1]}."


def hardware_lines(evidence: Evidence, facts: Facts) -> list[str]:
    """The hardware statement, a sentence a line; what the user attests is marked as that."""
    known = facts.environment
    devices = {str(t["device"]) for t in facts.training.values() if t.get("device")}
    lines = [
        f"Trained on: {', '.join(sorted(devices)) or words.machine(evidence)}.",
        f"Processor: {known.get('processor', NOT_RECORDED)}, "
        f"{known.get('cores', 'unknown')} cores; system: {known.get('system', NOT_RECORDED)}.",
        f"GPU: {known.get('gpu', NOT_RECORDED)}; driver: {known.get('driver', NOT_RECORDED)}.",
        f"Host, SHA-256 of its name and machine id: {known.get('host_sha256', NOT_RECORDED)}.",
    ]
    for stage in STAGES:
        began, ended = facts.times.get(stage, (NOT_RECORDED,) * 2)
        lines.append(f"Stage {stage}: began {began}, ended {ended}.")
    lines += [
        f"Energy of training “{row.model}”, kWh: {words.energy(row)}." for row in evidence.cost
    ]
    said = declared(evidence)
    if said.attestation:
        by = said.attested_by or "the user, unnamed"
        lines.append(f"Attested by {by}, checked by nobody here: “{said.attestation}”.")
    else:
        lines.append("Whose hardware it is, and whether the data are public: nobody has attested.")
    return lines


def leak_lines(evidence: Evidence, model: str | None = None) -> list[str]:
    """What models (or one) gave away of train, and personal data in what they wrote."""
    names = [name for name in (*view.arms(evidence), "stock") if model in (None, name)]
    lines = [line for name in names for line in _memory(evidence, name)]
    if not lines:
        lines.append(f"Memorisation of training text: {words.NOT_MEASURED}.")
    personal = [row for row in evidence.personal if row.model in names]
    for row in personal:  # of each model one of all kinds together, then one a kind
        kind = "personal data" if row.kind == ANY else row.kind
        wrote = f"In {words.plural(row.generations, 'text', 'texts')} that “{row.model}” wrote: "
        if row.found:
            lines.append(
                f"{wrote}{kind} {row.found:,} times, {row.in_train:,} of them as in train."
            )
        elif row.kind == ANY:
            lines.append(f"{wrote}no {kind} found.")
    if not personal:
        lines.append(f"Personal data in what models write: {words.NOT_MEASURED}.")
    return lines


def _memory(evidence: Evidence, model: str) -> list[str]:
    rows = [row for row in evidence.memorization if row.model == model]
    if not rows:
        return []
    told = "; ".join(f"{row.exact:,} of {row.windows:,} {_copies(row)}" for row in rows)
    who = "The stock model" if model == "stock" else f"“{model}”"
    line = f"{who} went on with exactly the next fifty tokens for {told}."
    for row in evidence.extraction:
        if row.model == model:
            low, high = row.ci95
            ends = f"(95 % interval {low * 100:+.1f} to {high * 100:+.1f} percentage points)"
            if low > 0:
                line += f" Text of train comes out more often than held-out text does {ends}."
            else:
                line += f" That train comes out more often than held-out text is not shown {ends}."
    if heard := words.by_heart(evidence).get(model):
        line += f" Warning: {heard}"
    return [line]


def _copies(row: Memorization) -> str:
    where = {"0": "passages of held-out text", "1": "that stand once in train"}
    return where.get(row.copies, f"that stand {row.copies} times in train")


def markdown(evidence: Evidence, facts: Facts) -> str:
    """`report/provenance.md`: data, hardware, privacy and software, for people."""
    packages = ", ".join(f"{name} {version}" for name, version in facts.software.items())
    number = plural(len(facts.software), "Python package", "Python packages")
    parts = {
        "Data": data_lines(evidence, facts),
        "Hardware": hardware_lines(evidence, facts),
        "Privacy and memorisation": leak_lines(evidence),
        "Software": [
            f"{number}: {packages}.",
            "Their licences are in bom.cdx.json (CycloneDX 1.6). Python itself, the operating "
            "system and its libraries are not in it.",
        ],
        "Files": [
            f"Merkle root of {words.plural(len(facts.outputs), 'file', 'files')} of "
            f"{', '.join(STAGES)}: {facts.merkle_root}.",
            f"Records of the manifest, SHA-256: {facts.seal}.",
            "The command “domainlm verify RUN” computes both again, and the hash of each file.",
        ],
    }
    body = "\n\n".join(
        f"## {title}\n\n" + "\n".join(f"- {escape(line)}" for line in lines)
        for title, lines in parts.items()
    )
    notices = "".join(f"> {escape(notice)}\n\n" for notice in evidence.notices)
    return (
        f"# Where {escape(evidence.name)} comes from\n\n{notices}Recorded by DomainLM, except "
        f"what is marked as declared or attested: that is the user's word. This page states facts; "
        f"it does not say that any rule is met.\n\n{body}\n"
    )
