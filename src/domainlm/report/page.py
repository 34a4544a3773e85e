"""The report page: evidence in, one offline HTML file out. No script, no request of any kind."""

import base64
import dataclasses
import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from domainlm.evaluation.evidence import Evidence, Probe, Sample, Slice
from domainlm.report import charts, view, words

SECTIONS = 20  # rows of the table by section at most


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text: the first cell of a row is its header, `numeric` columns stand right."""

    caption: str
    key: str  # where its figures stand in evidence.json
    heads: list[str]
    rows: list[list[str]]
    numeric: frozenset[int] = frozenset()


def render(evidence: Evidence, samples: Sequence[Sample], picture: bytes) -> str:
    """The whole page; `evidence` and `samples` are already tidy."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["nb"] = lambda text: re.sub(r"(?<=\d) (?=%)", "\u00a0", text)
    environment.lstrip_blocks = True
    source = resources.files("domainlm.report").joinpath("page.html.j2").read_text("utf-8")
    return environment.from_string(source).render(
        e=evidence,
        verdict=words.verdict(evidence),
        headline=words.headline(evidence),
        picture=base64.b64encode(picture).decode(),
        has_stock=view.has_stock(evidence),
        nouns=view.nouns(evidence),
        prompts=view.prompts(evidence, samples),
        label=lambda name: view.label(evidence, name),
        role=lambda name: evidence.models[name].role if name in evidence.models else "baseline",
        charts={
            "loss": [Markup(text) for text in charts.loss_charts(evidence)],
            "gaps": [Markup(text) for text in charts.gap_charts(evidence)],
            "training": [Markup(text) for text in charts.training_charts(evidence)],
        },
        curves=[words.curve(evidence, arm) for arm in view.arms(evidence)],
        loss=_loss(evidence),
        sections=_sections(evidence),
        gaps=_gaps(evidence),
        probe=_probe(evidence),
        corpus=_corpus(evidence),
        audit=_audit(evidence),
        data=words.data(evidence),
        cost=_cost(evidence),
        models=_models(evidence),
        hashes=_hashes(evidence),
        machine=Table(
            "Machine and versions",
            "environment",
            ["What", "Value"],
            [[k, v] for k, v in evidence.environment.items()],
        ),
    )


def _loss(evidence: Evidence) -> Table:
    rows = [
        [view.label(evidence, r.model), r.split, f"{r.bits_per_byte:.4f}",
         f"{r.ci95[0]:.4f} to {r.ci95[1]:.4f}", words.count(r.documents), words.count(r.groups),
         words.count(r.bytes), words.count(r.tokens) if r.tokens is not None else "none"]
        for split in view.splits(evidence)
        for r in view.losses(evidence, split)
    ]  # fmt: skip
    nouns = view.nouns(evidence)
    heads = ["Model", "Split", "Bits per byte", "95 % interval", nouns.documents.capitalize()]
    heads += [nouns.groups.capitalize(), "Bytes", "Tokens"]
    numbers = frozenset({2, 3, 4, 5, 6, 7})
    return Table("Bits per byte of held-out text, best first", "loss", heads, rows, numbers)


def _sections(evidence: Evidence) -> Table:
    """A section a row, of the first split that has any; a model a column, without compressors.

    A section that is all of the split would say again what the losses say.
    """
    models = [name for name, model in evidence.models.items() if model.role != "baseline"]
    whole = {(r.model, r.split): r.documents for r in evidence.loss}
    measured = [
        r
        for r in evidence.slices
        if r.model in models and r.documents != whole.get((r.model, r.split))
    ]
    split = next((s for s in view.splits(evidence) if any(r.split == s for r in measured)), None)
    found: dict[str, dict[str, Slice]] = {}
    for r in measured:
        if r.split == split:
            found.setdefault(r.value, {})[r.model] = r
    size = {value: next(iter(by.values())) for value, by in found.items()}
    most = sorted(size, key=lambda value: -size[value].documents)[:SECTIONS]
    rows = [
        [view.one_line(value), words.count(size[value].documents), words.count(size[value].groups),
         *(_slice(by[name]) if name in by else words.NOT_MEASURED for name in models)]
        for value, by in found.items() if value in most
    ]  # fmt: skip
    nouns, text = view.nouns(evidence), words.split_words(evidence, split)
    caption = f"By section, on {text}: bits per byte and 95 % interval"
    caption += f"; the {SECTIONS} most frequent" if len(size) > SECTIONS else ""
    heads = ["Section", nouns.documents.capitalize(), nouns.groups.capitalize()]
    heads += [view.short_label(evidence, name) for name in models]
    return Table(caption, "slices", heads, rows, frozenset(range(1, len(heads))))


def _slice(row: Slice) -> str:
    ends = f" ({row.ci95[0]:.3f} to {row.ci95[1]:.3f})" if row.ci95 else ""
    return f"{row.bits_per_byte:.3f}{ends}"


def _gaps(evidence: Evidence) -> Table:
    rows = []
    for r in sorted(evidence.gaps, key=lambda r: (r.split != "unseen", r.split, r.bits_per_byte)):
        other = view.loss(evidence, r.b, r.split)
        base = other.bits_per_byte if other else 0.0
        better = "better" if r.bits_per_byte < 0 else "worse"
        rows.append([
            view.short_label(evidence, r.a), view.short_label(evidence, r.b), r.split,
            f"{r.bits_per_byte:+.4f}", f"{r.ci95[0]:+.4f} to {r.ci95[1]:+.4f}",
            words.fewer_bits(base, base + r.bits_per_byte), f"{r.wins:,} of {r.groups:,}",
            f"{r.p_value:.4f}" if r.p_value >= 0.0001 else "< 0.0001",
            better if words.shown(r) else "not shown",
        ])  # fmt: skip
    heads = ["First", "Second", "Split", "Bits per byte", "95 % interval", "Per cent"]
    heads += ["First ahead", "p", "First is"]
    caption = "Paired differences, first minus second: negative means that the first is better"
    return Table(caption, "gaps", heads, rows, frozenset({3, 4, 5, 6, 7}))


def _probe(evidence: Evidence) -> Table:
    def rank(r: Probe) -> tuple[str, int, bool, float]:
        bag = re.search("tf.?idf", r.features, re.IGNORECASE) is not None
        return r.task, r.labels_per_class, not bag, -r.accuracy

    rows = [
        [view.label(evidence, r.features), r.task, words.count(r.labels_per_class),
         words.percent(r.accuracy), " to ".join(map(words.percent, r.ci95)), f"{r.macro_f1:.3f}",
         words.percent(r.majority), f"{r.train_passages:,} / {r.test_passages:,}"]
        for r in sorted(evidence.probe, key=rank)
    ]  # fmt: skip
    heads = ["Features", "Task", "Labels a class", "Accuracy", "95 % interval", "Macro-F1"]
    heads += ["Commonest label", "Passages: train / test"]
    caption = "A linear classifier on frozen features; a bag of words comes first"
    return Table(caption, "probe", heads, rows, frozenset({2, 3, 4, 5, 6, 7}))


def _corpus(evidence: Evidence) -> Table:
    c, nouns = evidence.corpus, view.nouns(evidence)

    def row(name: str, number: int, size: int, groups: str = "") -> list[str]:
        return [name, words.count(number), groups, words.size(size)]

    rows = [row("Input files", c.files, c.bytes)]
    rows += [
        row(f"Skipped: {reason}", counts.get("files", 0), counts.get("bytes", 0))
        for reason, counts in c.skipped.items()
    ]
    rows += [row(f"Lines out: {rule}", n["lines"], n["bytes"]) for rule, n in c.lines.items()]
    rows += [row(f"Dropped: {why}", n["documents"], n["bytes"]) for why, n in c.dropped.items()]
    rows += [row("Dropped: duplicates", c.duplicates, c.duplicate_bytes)]
    if near := c.near_duplicates.get("documents"):
        rows += [row("Dropped of train: near-duplicates", near, c.near_duplicates["bytes"])]
    if again := c.paragraphs.get("paragraphs"):
        rows += [row("Dropped of train: paragraphs seen before", again, c.paragraphs["bytes"])]
    rows += [row(f"Kept: {nouns.documents}", c.documents, c.text_bytes, words.count(c.groups))]
    rows += [
        row(f"Split: {name}", s.get("documents", 0), s.get("bytes", 0), f"{s.get('groups', 0):,}")
        for name, s in c.splits.items()
    ]
    heads = ["Part", "Number", nouns.groups.capitalize(), "Size"]
    return Table("What was kept and what was dropped", "corpus", heads, rows, frozenset({1, 2, 3}))


ORDER = ("unseen", "seen", "random")


def _audit(evidence: Evidence) -> Table | None:
    """How much of each split stands in train, beside a split by chance."""
    found = evidence.corpus.audit
    if found is None or not found.splits:
        return None
    rows = [
        ["random, for comparison" if name == "random" else name, f"{o.documents:,}",
         f"{o.groups:,}", *(words.percent(x) for x in (o.median, o.p90, o.max)),
         f"{o.over:,}" if name == "unseen" else ""]
        for name, o in sorted(found.splits.items(), key=lambda row: ORDER.index(row[0]))
    ]  # fmt: skip
    heads = ["Split", view.nouns(evidence).documents.capitalize()]
    heads += [view.nouns(evidence).groups.capitalize(), "Median", "90th percentile", "Most"]
    heads += [f"Above {words.percent(found.limit)}"]
    caption = f"How much of held-out text stands in train: share of its {found.n}-grams of words"
    return Table(caption, "corpus.audit", heads, rows, frozenset({1, 2, 3, 4, 5, 6}))


def _cost(evidence: Evidence) -> Table:
    rows = [
        [view.label(evidence, r.model), words.duration(r.seconds), words.count(r.tokens),
         f"{r.epochs:.2f}", f"{r.flops:.2e}", words.energy(r),
         f"{r.money:,.2f} {r.currency}" if r.money is not None else words.NOT_MEASURED]
        for r in evidence.cost
    ]  # fmt: skip
    heads = ["Model", "Time", "Tokens", "Epochs", "Training FLOPs", "Energy in kWh", "Money"]
    return Table("What training took", "cost", heads, rows, frozenset({1, 2, 3, 4, 5, 6}))


def _models(evidence: Evidence) -> Table:
    rows = [
        [view.label(evidence, name), m.role, f"{m.parameters:,}" if m.parameters else "none",
         f"{m.vocabulary:,}" if m.vocabulary else "none", _window(m.window, m.stride), m.source,
         m.sha256[:16] if m.sha256 else "none", "; ".join(m.notes) or "none"]
        for name, m in evidence.models.items()
    ]  # fmt: skip
    heads = ["Model", "Role", "Parameters", "Vocabulary", "Window", "Source", "SHA-256", "Notes"]
    return Table("Who was measured", "models", heads, rows, frozenset({2, 3}))


def _window(window: int | None, stride: int | None) -> str:
    if window is None:
        return "none"
    return f"{window:,} tokens" + (f", stride {stride:,}" if stride else "")


def _hashes(evidence: Evidence) -> Table:
    rows = [
        ["Held-out spans", "held_out_sha256", evidence.held_out_sha256],
        ["Prompts, frozen before training", "samples.prompts_sha256",
         evidence.samples.prompts_sha256],
        *([f"Weights: {view.label(evidence, name)}", "models", m.sha256]
          for name, m in evidence.models.items() if m.sha256),
        *([["Merkle root of corpus, tokens and models", "corpus.merkle_root", root]]
          if (root := evidence.corpus.merkle_root) else []),
    ]  # fmt: skip
    return Table("What was measured, by its hash", "", ["What", "Key", "SHA-256"], rows)
