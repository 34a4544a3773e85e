"""The tables of the report: rows of text, each from one part of the evidence."""

import dataclasses
from collections.abc import Sequence

from domainlm.evaluation.baselines import LAST_YEAR
from domainlm.evaluation.evidence import Evidence, Interval, Slice
from domainlm.report import view, words

SECTIONS = 20  # rows of a table of slices at most
NONE = "\u2013"  # a dash: what there is none of, such as a compressor's parameters


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text: the first cell of a row is its header, `numeric` columns stand right."""

    caption: str
    key: str  # where its figures stand in evidence.json
    heads: list[str]
    rows: list[list[str]]
    numeric: frozenset[int] = frozenset()


def _table(
    caption: str, key: str, heads: Sequence[str], rows: list[list[str]], text: int = 1
) -> Table:
    """A table whose first `text` columns are words and whose others are numbers."""
    return Table(caption, key, list(heads), rows, frozenset(range(text, len(heads))))


def _counted(evidence: Evidence) -> list[str]:
    """Heads of the columns of documents and groups."""
    nouns = view.nouns(evidence)
    return [nouns.documents.capitalize(), nouns.groups.capitalize()]


def _between(ends: Interval | None, form: str = ".3f") -> str:
    return f"{ends[0]:{form}} to {ends[1]:{form}}" if ends else "one group"


def _shares(ends: Interval) -> str:
    return " to ".join(map(words.percent, ends))


def loss(evidence: Evidence, short: bool = False) -> Table:
    """Every model and baseline on every split, best first; by title, or short where it is known."""
    name = view.short_label if short else view.label
    rows = [
        [name(evidence, r.model), r.split, f"{r.bits_per_byte:.4f}",
         _between(r.ci95, ".4f"), view.part(evidence, r) or words.count(r.documents),
         words.count(r.groups), words.count(r.bytes),
         words.count(r.tokens) if r.tokens is not None else NONE]
        for split in view.splits(evidence)
        for r in view.losses(evidence, split)
    ]  # fmt: skip
    heads = ["Model", "Split", "Bits per byte", "95 % interval", *_counted(evidence)]
    heads += ["Bytes", "Tokens"]
    caption = "Bits per byte of held-out text, best first; last those of a part of the text"
    return _table(caption, "loss", heads, rows, text=2)


def gaps(evidence: Evidence) -> Table:
    """The paired differences."""
    rows = []
    for r in sorted(evidence.gaps, key=lambda r: (r.split != "unseen", r.split, r.bits_per_byte)):
        base, some = view.base(evidence, r), view.part(evidence, r)
        better = "better" if r.bits_per_byte < 0 else "worse"
        rows.append([
            view.short_label(evidence, r.a), view.short_label(evidence, r.b),
            f"{r.split}, {some}" if some else r.split,
            f"{r.bits_per_byte:+.4f}", _between(r.ci95, "+.4f"),
            NONE if base is None else words.fewer_bits(base, base + r.bits_per_byte),
            f"{r.wins:,} of {r.groups:,}",
            _p(r.p_value),
            better if words.shown(r) else f"{better}, of few" if words.apart(r) else "not shown",
        ])  # fmt: skip
    heads = ["First", "Second", "Split", "Bits per byte", "95 % interval", "Per cent"]
    heads += ["First ahead", "p", "First is"]
    caption = "Paired differences, first minus second: negative means that the first is better"
    return Table(caption, "gaps", heads, rows, frozenset({3, 4, 5, 6, 7}))


def slices(evidence: Evidence) -> list[Table]:
    """A slice a row and a model a column, without baselines: by section first, then the others.

    Of the first split that has any. A slice that is all of the split says nothing new. By novelty
    the baseline that copies last year's text is shown too: what it gains, a model may by copying.
    """
    models = [n for n, m in evidence.models.items() if m.role != "baseline" or n == LAST_YEAR]
    whole = {(r.model, r.split): r.documents for r in evidence.loss}
    measured = [
        r
        for r in evidence.slices
        if r.model in models and (r.by == "kind" or r.documents != whole.get((r.model, r.split)))
    ]
    split = next((s for s in view.splits(evidence) if any(r.split == s for r in measured)), None)
    cuts = ([r for r in measured if (r.split, r.by) == (split, by)] for by in words.BY)
    return [_sliced(evidence, part, models) for part in cuts if part]


def _sliced(evidence: Evidence, part: Sequence[Slice], models: Sequence[str]) -> Table:
    found: dict[str, dict[str, Slice]] = {}
    if part[0].by != "novelty":
        models = [name for name in models if name != LAST_YEAR]
    for r in part:
        if r.model in models:
            found.setdefault(r.value, {})[r.model] = r
    size = {v: max(by.values(), key=lambda r: r.documents) for v, by in found.items()}
    most = sorted(size, key=lambda value: -size[value].documents)[:SECTIONS]
    rows = [
        [words.slice_label(size[value]), words.count(size[value].documents),
         words.count(size[value].groups),
         *(_slice(by[name], size[value].documents) if name in by else words.NOT_MEASURED
           for name in models)]
        for value, by in found.items() if value in most
    ]  # fmt: skip
    caption = f"{words.BY[part[0].by]}, on {words.split_words(evidence, part[0].split)}"
    caption += ": bits per byte and 95 % interval"
    caption += f"; the {SECTIONS} most frequent" if len(size) > SECTIONS else ""
    heads = [part[0].by.capitalize(), *_counted(evidence)]
    heads += [view.short_label(evidence, n) for n in models]
    return _table(caption, "slices", heads, rows)


def _slice(row: Slice, documents: int) -> str:
    ends = f" ({_between(row.ci95)})" if row.ci95 else ""
    some = f", on {row.documents:,}" if row.documents < documents else ""
    return f"{row.bits_per_byte:.3f}{ends}{some}"


def slice_gaps(evidence: Evidence) -> Table | None:
    """The differences that the charts of slices show, with their p values."""
    rows = [r for part in view.slice_gaps(evidence).values() for r in part]
    if not rows:
        return None
    a, b = (view.short_label(evidence, name) for name in (rows[0].a, rows[0].b))
    cells = [
        [words.slice_label(r), r.by, words.count(r.documents),
         words.count(r.groups), f"{r.bits_per_byte:+.4f}",
         _between(r.ci95, "+.4f"), _p(r.p_value), _p(r.p_holm)]
        for r in rows
    ]  # fmt: skip
    heads = ["Slice", "By", *_counted(evidence), "Bits per byte", "95 % interval", "p"]
    heads += ["p, corrected (Holm)"]
    caption = f"{a} minus {b}, slice by slice: negative means that the first is better"
    return _table(caption, "slice_gaps", heads, cells, text=2)


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def windows(evidence: Evidence) -> Table | None:
    """The losses at other windows."""
    rows = [
        [view.short_label(evidence, r.model), r.split, window_words(r.window, r.stride),
         words.count(r.context_bytes) if r.context_bytes else "any", f"{r.bits_per_byte:.4f}",
         _between(r.ci95, ".4f"), words.count(r.documents), words.count(r.groups)]
        for r in evidence.windows
    ]  # fmt: skip
    heads = ["Model", "Split", "Window", "Its bytes", "Bits per byte", "95 % interval"]
    heads += _counted(evidence)
    caption = "The same with other windows, on the first texts of each split alone"
    return _table(caption, "windows", heads, rows, text=3) if rows else None


def probes(evidence: Evidence) -> list[Table]:
    """A table a task: features by labels a class, a bag of words first."""
    found = []
    for task, by in view.probes(evidence).items():
        sizes = sorted({r.labels_per_class for rows in by.values() for r in rows})
        rows = []
        for name, part in by.items():
            of = {r.labels_per_class: r for r in part}
            cells = [words.percent(of[n].accuracy) if n in of else "" for n in sizes]
            rows.append([_features(evidence, name), *cells, _shares(part[-1].ci95),
                         f"{part[-1].macro_f1:.3f}"])  # fmt: skip
        last = next(iter(by.values()))[-1]
        heads = ["Features", *(f"Accuracy, {n:,} a class" for n in sizes)]
        heads += ["95 % interval", "Macro-F1"]
        if len(sizes) > 1:
            heads[-2:] = [f"{head} at {sizes[-1]:,}" for head in heads[-2:]]
        caption = (
            f"{words.capital(view.one_line(task))}: {len(last.labels)} labels, "
            f"{last.test_passages:,} passages to answer, up to {last.train_passages:,} to learn "
            f"from; always the commonest label: {words.percent(last.majority)}"
        )
        found.append(_table(caption, "probe", heads, rows))
    return found


def _features(evidence: Evidence, name: str) -> str:
    return "TF-IDF, a bag of words" if name == "TF-IDF" else view.short_label(evidence, name)


def choices(evidence: Evidence) -> list[Table]:
    """Questions with one right answer, a table a task; the overlap of words first."""
    found = []
    for task in dict.fromkeys(r.task for r in evidence.choices):
        part = [r for r in evidence.choices if r.task == task]
        part.sort(key=lambda r: (r.scorer in evidence.models, -r.accuracy))
        rows = [
            [view.short_label(evidence, r.scorer), words.percent(r.accuracy), _shares(r.ci95),
             words.percent(r.chance), words.count(r.questions), words.count(r.groups)]
            for r in part
        ]  # fmt: skip
        heads = ["Who answers", "Right", "95 % interval", "By chance", "Questions"]
        heads += [view.nouns(evidence).groups.capitalize()]
        caption = f"{words.capital(task)}: questions with one right answer, without any training"
        found.append(_table(caption, "choices", heads, rows))
    return found


def retrieval(evidence: Evidence) -> Table | None:
    """Passages found by a passage; the overlap of words first."""
    part = sorted(evidence.retrieval, key=lambda r: (r.scorer in evidence.models, -r.ndcg10))
    rows = [
        [view.short_label(evidence, r.scorer), f"{r.ndcg10:.3f}", _between(r.ci95), f"{r.mrr:.3f}",
         words.count(r.queries), words.count(r.candidates), words.count(r.groups)]
        for r in part
    ]  # fmt: skip
    nouns = view.nouns(evidence)
    heads = ["Who searches", "nDCG@10", "95 % interval", "MRR", "Queries", "Candidates"]
    heads += [nouns.groups.capitalize()]
    caption = f"Passages of the same section by other {nouns.groups}, found by a passage"
    return _table(caption, "retrieval", heads, rows) if rows else None


def memorization(evidence: Evidence) -> Table | None:
    """Passages that a model completes word for word, by their copies in train."""
    rows = [
        [view.short_label(evidence, r.model), "0 (held out)" if r.copies == "0" else r.copies,
         words.count(r.windows), words.count(r.exact), words.percent(r.rate), _shares(r.ci95)]
        for r in evidence.memorization
    ]  # fmt: skip
    heads = ["Model", "Copies in train", "Passages", "Completed", "Share", "95 % interval"]
    caption = "After 50 tokens of a passage, the next 50 word for word, by copies in train"
    return _table(caption, "memorization", heads, rows, text=2) if rows else None


def personal(evidence: Evidence) -> Table | None:
    """Personal data in generations."""
    rows = [
        [view.short_label(evidence, r.model), view.one_line(r.kind), words.count(r.generations),
         words.count(r.found), words.count(r.in_train)]
        for r in evidence.personal
    ]  # fmt: skip
    heads = ["Model", "Kind", "Continuations", "Found", "Of these in train"]
    caption = "Personal data and secrets in what the models wrote"
    return _table(caption, "personal", heads, rows, text=2) if rows else None


def corpus(evidence: Evidence) -> Table:
    """The ledger."""
    c, nouns = evidence.corpus, view.nouns(evidence)

    def row(name: str, number: int, size: int, groups: str = "") -> list[str]:
        return [name, words.count(number), groups, words.size(size)]

    why = {"unused": f" (earlier {nouns.documents} of {nouns.groups} never trained on)"}
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
        row(
            f"Split: {name}{why.get(name, '')}",
            s.get("documents", 0),
            s.get("bytes", 0),
            f"{s.get('groups', 0):,}",
        )
        for name, s in c.splits.items()
    ]
    heads = ["Part", "Number", nouns.groups.capitalize(), "Size"]
    return _table("What was kept and what was dropped", "corpus", heads, rows)


ORDER = ("unseen", "seen", "random")


def audit(evidence: Evidence) -> Table | None:
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
    heads = ["Split", *_counted(evidence), "Median", "90th percentile", "Most"]
    heads += [f"Above {words.percent(found.limit)}"]
    caption = f"How much of held-out text stands in train: share of its {found.n}-grams of words"
    return _table(caption, "corpus.audit", heads, rows)


def cost(evidence: Evidence) -> Table:
    """What each arm took."""
    rows = [
        [view.short_label(evidence, r.model), words.duration(r.seconds), words.count(r.tokens),
         words.passes(r.epochs), f"{r.flops:.2e}", words.energy(r),
         f"{r.money:,.2f} {r.currency}" if r.money is not None else words.NOT_MEASURED]
        for r in evidence.cost
    ]  # fmt: skip
    heads = ["Model", "Time", "Tokens", "Epochs", "Training FLOPs", "Energy in kWh", "Money"]
    return _table("What training took", "cost", heads, rows)


def models(evidence: Evidence) -> Table:
    """Who was measured, once with full titles; `hashes` has the weights' hashes."""
    rows = [
        [view.short_label(evidence, name), f"{m.role}: {view.one_line(m.title)}",
         f"{m.parameters:,}" if m.parameters else NONE,
         f"{m.vocabulary:,}" if m.vocabulary else NONE, window_words(m.window, m.stride),
         m.source, "; ".join(m.notes) or NONE]
        for name, m in evidence.models.items()
    ]  # fmt: skip
    heads = ["Model", "What it is", "Parameters", "Vocabulary", "Window", "Source", "Notes"]
    return Table("Who was measured", "models", heads, rows, frozenset({2, 3}))


def window_words(window: int | None, stride: int | None) -> str:
    """A window in words; compressors have none."""
    if window is None:
        return NONE
    return f"{window:,} tokens" + (f", stride {stride:,}" if stride else "")


def hashes(evidence: Evidence) -> Table:
    """What makes two runs comparable."""
    rows = [
        ["Held-out spans", "held_out_sha256", evidence.held_out_sha256],
        ["Prompts, frozen before training", "samples.prompts_sha256",
         evidence.samples.prompts_sha256],
        *([f"Weights: {view.short_label(evidence, name)}", "models", m.sha256]
          for name, m in evidence.models.items() if m.sha256),
        *([["Merkle root of corpus, tokens and models", "corpus.merkle_root", root]]
          if (root := evidence.corpus.merkle_root) else []),
    ]  # fmt: skip
    return Table("What was measured, by its hash", "", ["What", "Key", "SHA-256"], rows)


def machine(evidence: Evidence) -> Table:
    """Machine and versions."""
    rows = [[k, v] for k, v in evidence.environment.items()]
    return Table("Machine and versions", "environment", ["What", "Value"], rows)
