"""The report says what the evidence says, to people and in every format."""

import html.parser
import io
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from domainlm.evaluation.evidence import Evidence, Sample
from domainlm.report import charts, headline, page, post, stage, view, words
from report_examples import HOSTILE, INVENTED, TEXTS, example, samples, variants, without

VARIANTS = {name: view.tidy(evidence) for name, evidence in variants().items()}
PNG = b"\x89PNG"
VOID = {"meta", "img", "link", "br", "hr", "input"}
positive = st.floats(0.05, 12)


def everything(evidence: Evidence) -> str:
    """All the wording that a result has."""
    cards = [post.card(evidence, arm) for arm in view.arms(evidence)]
    return "\n".join([*words.verdict(evidence), post.post(evidence), *cards])


def changed(evidence: Evidence, part: str, **fields: Callable[[Any], Any]) -> Evidence:
    """`evidence` with some fields of every row of `part` changed."""
    data = evidence.model_dump()
    for row in data[part]:
        row.update({name: f(row[name]) for name, f in fields.items()})
    return Evidence.model_validate(data)


# --- numbers to words -----------------------------------------------------------------------


def test_loss_and_perplexity_are_never_mixed() -> None:
    assert words.less_loss(4.5, 3.2) == "28.9 % less loss"
    assert words.perplexity_change(4.5, 3.2) == "72.7 % lower perplexity"  # 1 - exp(-1.3)
    assert words.fewer_bits(0.981, 0.842) == "14.2 % fewer bits"
    assert words.fewer_bits(1.0, 2.5) == "150 % more bits"


@given(positive, positive)
def test_direction_and_size_of_changes(old: float, new: float) -> None:
    for change, less, more in (
        (words.less_loss, "less", "more"),
        (words.perplexity_change, "lower", "higher"),
        (words.fewer_bits, "fewer", "more"),
    ):
        text = change(old, new)
        if abs(new - old) < 1e-9:
            assert text == "no change" or text.startswith("less than 0.1 %")
            continue
        assert f" {less if new < old else more} " in f" {text} "
        share = re.match(r"(?:less than )?([\d,.]+) %", text)
        assert share and (new > old or float(share[1].replace(",", "")) <= 100)


@given(st.floats(0, 50))
def test_percent_reads_back(share: float) -> None:
    text = words.percent(share)
    if text.startswith("less"):
        assert 0 < share < 0.0005
    else:
        tolerance = 0.005 if share >= 0.9995 else 0.0005
        assert float(text.removesuffix(" %").replace(",", "")) / 100 == pytest.approx(
            share, abs=tolerance + 1e-9
        )


@given(st.integers(0, 10**12))
def test_short_reads_back(number: int) -> None:
    text = words.short(number)
    unit = {"B": 1e9, "M": 1e6, "k": 1e3}.get(text[-1], 1)
    assert float(text.rstrip("BMk")) * unit == pytest.approx(number, rel=0.06, abs=0.5)


def test_sizes_and_durations() -> None:
    assert [words.size(n) for n in (1, 999, 753_664, 2_900_000)] == [
        "1 byte", "999 bytes", "753.7 KB", "2.9 MB"
    ]  # fmt: skip
    assert [words.duration(s) for s in (61, 312, 30_000)] == [
        "61 seconds", "5.2 minutes", "8.3 hours"
    ]  # fmt: skip


@given(st.text())
@settings(max_examples=60)
def test_clean_leaves_nothing_that_controls(text: str) -> None:
    found = view.clean(f"\x1b[2J{text}\x1b]0;title\x07\x00")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e]", found)
    assert view.clean(found) == found


# --- the verdict ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_verdict_has_five_plain_lines(name: str) -> None:
    lines = words.verdict(VARIANTS[name])
    assert len(lines) == 5
    assert all(line and "\n" not in line and line.endswith(".") for line in lines)
    assert "significan" not in everything(VARIANTS[name]).lower()


def test_a_loss_to_the_stock_model_comes_first() -> None:
    first, second, *_ = words.verdict(VARIANTS["continued_wins"])
    assert "“scratch”" in first and "loses to the stock model" in first
    assert "0.183 bits per byte more (95 % interval 0.162 to 0.204), 18.7 % more bits" in first
    assert "1 of 46 companies" in first
    assert "“continued”" in second and "beats" in second and "14.2 % fewer bits" in second


def test_the_best_arm_leads_where_none_loses() -> None:
    evidence = VARIANTS["scratch_wins"]
    assert words.verdict(evidence)[0].startswith("The from-scratch model “scratch”")
    assert words.headline(evidence).endswith("8.1 % better than a stock model of 135M")


def test_no_stock_is_said_at_the_top() -> None:
    first, second, third, *_ = words.verdict(VARIANTS["no_stock"])
    assert first.startswith("There is no stock model to compare with")
    assert "no second arm" in second and "beats it" in third
    assert "than the best compressor" in words.headline(VARIANTS["no_stock"])
    assert "not compared with any pretrained model" in post.post(VARIANTS["no_stock"])


def test_without_unseen_text_the_seen_split_is_named() -> None:
    assert "later text of companies trained on" in words.verdict(VARIANTS["no_unseen"])[0]
    assert "companies it knows" in words.headline(VARIANTS["no_unseen"])


def test_an_interval_with_zero_shows_nothing() -> None:
    lines = words.verdict(VARIANTS["few_groups"])
    assert "no difference could be shown" in lines[0] and "-0.539 to +0.261" in lines[0]
    assert "could not be shown" in words.headline(VARIANTS["few_groups"])
    assert words.COVERAGE in lines[3] and "7 companies" in lines[3]
    assert "Warning" in lines[4] and "6.5 times" in lines[4]


def test_one_group_shows_nothing_however_narrow() -> None:
    assert "no difference could be shown" in words.verdict(example(groups=1))[0]


@pytest.mark.parametrize(("groups", "warned"), [(39, True), (40, False)])
def test_undercoverage_is_warned_of_below_forty(groups: int, warned: bool) -> None:
    assert ("undercovers" in words.verdict(example(groups=groups))[3]) is warned


@pytest.mark.parametrize(("epochs", "warned"), [(4.0, False), (4.1, True)])
def test_too_many_epochs_are_warned_of(epochs: float, warned: bool) -> None:
    assert ("Warning" in words.verdict(example(epochs=epochs))[4]) is warned


def test_a_gap_stored_the_other_way_round_reads_the_same() -> None:
    evidence = VARIANTS["continued_wins"]
    data = evidence.model_dump()
    for row in data["gaps"]:
        low, high = row["ci95"]
        row.update(a=row["b"], b=row["a"], bits_per_byte=-row["bits_per_byte"],
                   ci95=(-high, -low), wins=row["groups"] - row["wins"])  # fmt: skip
    assert words.verdict(Evidence.model_validate(data)) == words.verdict(evidence)


def test_groups_are_companies_only_where_they_are() -> None:
    evidence = example(recipe='[source]\nkind = "files"\n')
    assert "compan" not in " ".join(words.verdict(evidence))
    assert "46 groups" in words.verdict(evidence)[3]


@pytest.mark.parametrize(
    ("part", "field", "change"),
    [
        ("loss", "bits_per_byte", lambda x: x + 0.07),
        ("loss", "documents", lambda x: x + 3),
        ("loss", "groups", lambda x: x + 3),
        ("loss", "bytes", lambda x: x + 90_000),
        ("gaps", "bits_per_byte", lambda x: x * 1.01),
        ("gaps", "ci95", lambda x: (x[0] - 0.001, x[1])),
        ("gaps", "ci95", lambda x: (x[0], x[1] + 0.001)),
        ("gaps", "wins", lambda x: x - 1),
        ("cost", "seconds", lambda x: x + 60),
        ("cost", "tokens", lambda x: x + 200_000),
        ("cost", "epochs", lambda x: x + 0.2),
    ],
)
def test_numbers_of_the_verdict_come_from_the_evidence(
    part: str, field: str, change: Callable[[Any], Any]
) -> None:
    evidence = VARIANTS["continued_wins"]
    other = changed(evidence, part, **{field: change})
    assert words.verdict(other) != words.verdict(evidence)
    assert post.post(other) != post.post(evidence)
    assert post.card(other, "scratch") != post.card(evidence, "scratch")


def test_numbers_of_post_and_card_are_in_the_evidence() -> None:
    """Every number with a decimal point is a field of the evidence, or a ratio of two losses."""
    evidence = VARIANTS["continued_wins"]
    scores = [r.bits_per_byte for r in evidence.loss]
    allowed = {f"{v:.{d}f}" for d in (3, 4) for r in evidence.loss
               for v in (r.bits_per_byte, *r.ci95)}  # fmt: skip
    allowed |= {f"{abs(v):.3f}" for r in evidence.gaps for v in (r.bits_per_byte, *r.ci95)}
    allowed |= {f"{abs(a / b - 1) * 100:.1f}" for a, b in itertools.product(scores, scores)}
    allowed |= {f"{r.seconds / 60:.1f}" for r in evidence.cost}
    allowed |= {f"{r.epochs:.{d}f}" for r in evidence.cost for d in (1, 2)}
    allowed |= {"3.0", "1.9", "3.40", f"{evidence.loss[0].bytes / 1e3:.1f}", "21.4"}
    found = set(re.findall(r"\d+\.\d+", everything(evidence)))
    assert found <= allowed, found - allowed


# --- the post and the card ------------------------------------------------------------------


def test_the_post_asks_first_and_then_leads_with_the_capability() -> None:
    text = post.post(VARIANTS["continued_wins"])
    ask, channel = text.split("# Then: the post")
    assert ask.startswith(f"**{INVENTED}**") and "three or four people" in ask
    assert channel.strip().startswith("**Trained further on these 10-Ks")
    assert "Data and hardware" in channel and "What it is not" in channel


@pytest.mark.parametrize("name", VARIANTS)
def test_the_card_has_no_empty_field(name: str) -> None:
    card = post.card(VARIANTS[name], "scratch")
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "library_name: transformers" in front and "license" not in front
    assert "None" not in body and "|  |" not in body and "More Information" not in body
    assert "| Energy, kWh | not measured |" in body


def test_the_base_model_is_named_where_it_is_a_hub_id() -> None:
    data = VARIANTS["continued_wins"].model_dump()
    data["models"]["stock"]["source"] = "openai-community/gpt2"
    evidence = Evidence.model_validate(data)
    assert 'base_model: "openai-community/gpt2"' in post.card(evidence, "continued")
    assert "base_model" not in post.card(evidence, "scratch")


def test_markdown_in_names_is_text() -> None:
    evidence = VARIANTS["hostile"]
    for text in (post.post(evidence), post.card(evidence, "scratch")):
        assert "<script>" not in re.sub(r"\\<", "", text)
        assert r"\*\*Bold\*\*" in text and "\x1b" not in text and "\u202e" not in text


# --- the page -------------------------------------------------------------------------------


class Balance(html.parser.HTMLParser):
    """Checks that tags close in order, ids are unique, and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        links = [values.get(name) or "" for name in ("src", "href", "data", "poster", "srcset")]
        self.loads += [link for link in links if link and not link.startswith(("#", "data:"))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


def rendered(name: str, rows: list[Sample] | None = None) -> str:
    evidence = VARIANTS[name]
    return page.render(evidence, samples(evidence) if rows is None else rows, PNG)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_page_is_whole_offline_and_small(name: str) -> None:
    text = rendered(name)
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert not parser.open and not parser.loads and len(text.encode()) < 3_000_000
    assert len(parser.ids) == len(set(parser.ids))
    assert not parser.tags & {"script", "iframe", "link", "object", "b"}
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert {"main", "header", "footer", "nav"} <= parser.tags
    assert text.count("<tr>") > 3 and 'scope="col"' in text and 'scope="row"' in text


def test_notices_come_before_everything() -> None:
    body = rendered("continued_wins").split("<body>")[1]
    assert re.sub(r"<[^>]+>", "", body).strip().startswith(INVENTED)


def test_every_prompt_and_every_answer_is_shown() -> None:
    text = rendered("continued_wins")
    assert text.count('class="prompt"') == 3 and text.count("answer truth") == 2
    assert text.count("I hope this helps you") == 3


def test_the_page_names_keys_stock_notes_and_tfidf_first() -> None:
    text = rendered("continued_wins")
    for key in ("loss", "gaps", "samples", "curves", "probe", "corpus", "cost", "models"):
        assert f"<code>{key}</code>" in text
    probe = text[text.index('aria-labelledby="probe"') :]
    assert probe.index("TF-IDF</th>") < probe.index("SmolLM2")
    assert VARIANTS["continued_wins"].held_out_sha256 in text
    assert "No stock model could be measured" in rendered("no_stock")


def sections_of(text: str) -> str:
    found = re.search("<table[^>]*>\n<caption>By section.*?</table>", text, re.DOTALL)
    return found[0] if found else ""


def test_losses_by_section_are_a_small_table() -> None:
    table = sections_of(rendered("continued_wins"))
    rows = re.findall("<tr>(.*?)</tr>", table)
    cells = [re.findall(r">([^<>]+)</t[hd]>", row) for row in rows]
    assert cells[0][:3] == ["Section", "Filings", "Companies"]
    assert cells[0][3:] == [view.label(VARIANTS["continued_wins"], "stock"), "scratch", "continued"]
    assert cells[2] == [
        "Item 7", "31", "31", "0.954 (0.904 to 1.014)", "1.137 (1.087 to 1.197)",
        "0.815 (0.765 to 0.875)",
    ]  # fmt: skip
    assert cells[3][3] == "1.181" and len(cells) == 4  # one group: no interval
    assert "companies never trained on" in table and "PPMd" not in table
    assert sections_of(rendered("no_unseen")).count("<tr>") == 4
    assert not sections_of(rendered("nothing"))
    rows = VARIANTS["continued_wins"].model_dump()["slices"][:3]
    whole = example(slices=[{**r, "documents": 92} for r in rows])
    assert not sections_of(page.render(whole, [], PNG))


def test_a_hostile_heading_is_text_and_many_are_cut() -> None:
    rows = VARIANTS["continued_wins"].model_dump()["slices"]
    nasty = f"{HOSTILE}</td><script>1</script>\n{{{{ 7 * 7 }}}}"
    evidence = view.tidy(example(slices=[{**r, "value": nasty} for r in rows[:1]]))
    text = page.render(evidence, [], PNG)
    assert "<script" not in text and "&lt;script&gt;1&lt;/script&gt; {{ 7 * 7 }}" in text
    assert sections_of(text).count(words.NOT_MEASURED) == 2  # by the arms
    Balance().feed(text)
    many = [{**rows[0], "value": f"Item {n}", "documents": 5 + n} for n in range(30)]
    table = sections_of(page.render(view.tidy(example(slices=many)), [], PNG))
    assert table.count("<tr>") == 1 + page.SECTIONS and "the 20 most frequent" in table
    assert "Item 29<" in table and "Item 9<" not in table


def test_evidence_without_slices_is_read() -> None:
    data = VARIANTS["continued_wins"].model_dump()
    del data["slices"]
    assert Evidence.model_validate(data | {"schema_version": 1}).slices == []


def test_hostile_text_is_text() -> None:
    evidence = VARIANTS["hostile"]
    rows = samples(evidence, {name: f"{HOSTILE}</p><img src=x>" for name in TEXTS})
    cleaned = [Sample.model_validate(view._tidy(r.model_dump())) for r in rows]
    text = rendered("hostile", cleaned)
    assert "<script" not in text and "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text and "\u202e" not in text


def test_charts_are_the_same_each_time_and_follow_the_theme() -> None:
    evidence = VARIANTS["continued_wins"]
    drawings = [*charts.loss_charts(evidence), *charts.gap_charts(evidence)]
    drawings += charts.training_charts(evidence)
    assert len(drawings) == 6
    assert drawings[:2] == charts.loss_charts(evidence)
    for drawing in drawings:
        assert "currentColor" in drawing and "#0102" not in drawing and "http" not in drawing
        assert 'role="img"' in drawing and "aria-label=" in drawing and "<text" in drawing
    assert "0.842 [0.80, 0.89]" in drawings[0] and "var(--continued)" in drawings[0]


def test_a_title_that_looks_like_svg_stays_a_title() -> None:
    title = 'style="font: 12px evil; x" id="y" </text><image href="http://x"/> #010203'
    for drawing in charts.loss_charts(example(titles={"stock": title})):
        parser = Balance()
        parser.feed(drawing)
        assert not parser.open and "image" not in parser.tags and not parser.loads


# --- the picture ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["continued_wins", "no_stock", "hostile", "nothing"])
@pytest.mark.slow
def test_the_picture_is_exactly_1600_by_900(name: str) -> None:
    evidence = VARIANTS[name]
    rows = samples(evidence) if name != "nothing" else []
    with Image.open(io.BytesIO(headline.render(evidence, rows))) as image:
        assert image.size == (1600, 900) and image.format == "PNG"


def test_the_prompt_of_the_picture_is_chosen_by_rule() -> None:
    evidence = VARIANTS["continued_wins"]
    rows = samples(evidence)
    found = headline.chosen(view.prompts(evidence, rows))
    assert found is not None and found.prompt == rows[0].prompt
    last = [row for row in rows if row.true_text is None]
    alone = headline.chosen(view.prompts(evidence, last))
    assert alone is not None and alone.source == "classic"
    assert headline.chosen([]) is None


@given(st.lists(st.text("abc$", min_size=1), max_size=90))
def test_cut_words_cuts_at_a_word(parts: list[str]) -> None:
    found = headline.cut_words(" ".join(parts))
    assert found.rstrip("…").split() == parts[: headline.WORDS]
    assert found.endswith("…") is (len(parts) > headline.WORDS)


# --- the stage ------------------------------------------------------------------------------


def write_run(root: Path, name: str) -> Path:
    evidence = variants()[name]
    (root / "evaluation").mkdir()
    (root / "evaluation/evidence.json").write_text(evidence.model_dump_json(), "utf-8")
    rows = [json.dumps(row.model_dump()) for row in samples(evidence)]
    (root / "evaluation/samples.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    return root


@pytest.mark.slow
def test_the_stage_writes_the_same_files_twice(tmp_path: Path) -> None:
    write_run(tmp_path, "hostile")
    outputs = ["report/index.html", "report/headline.png", "report/post.md"]
    outputs += ["models/scratch/README.md", "models/continued/README.md"]
    written = []
    for _ in range(2):
        stage.write_report(tmp_path, {"arms": ["scratch", "continued"]})
        written.append([(tmp_path / path).read_bytes() for path in outputs])
    assert written[0] == written[1]


def test_the_stage_declares_what_it_writes(tmp_path: Path) -> None:
    from domainlm.artifacts import Manifest, Run
    from domainlm.recipe import validate

    recipe = validate(
        {
            "source": {"path": "x"},
            "train": [
                {"name": "tiny", "model": "m", "tokens": 1},
                {"name": "skipped", "init": "stock", "tokens": 1},
            ],
        },
        "test",
    )
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "config.json").write_text("{}")
    [[task]] = list(stage.waves(Run(tmp_path, recipe, Manifest(tmp_path), None)))
    assert task.name == "report/page" and "models/tiny/README.md" in task.outputs
    assert "models/skipped/README.md" not in task.outputs
    assert task.inputs == ("evaluation/evidence.json", "evaluation/samples.jsonl")


# --- in a browser ---------------------------------------------------------------------------


def chromium(*arguments: str, profile: Path) -> str:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    program = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    done = subprocess.run(
        [program, *flags, f"--user-data-dir={profile}", *arguments],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("chromium-browser")),
    reason="chromium is not installed",
)
def test_no_sideways_scroll_and_both_themes(tmp_path: Path) -> None:
    evidence = VARIANTS["hostile"]
    long = {name: "x" * 400 + text for name, text in TEXTS.items()}
    text = page.render(evidence, samples(evidence, long), headline.render(evidence, []))
    widths = (360, 400, 1400, 2560)
    frames = "".join(
        f'<iframe width="{w}" height="900" style="border:0" srcdoc="{html.escape(text)}"></iframe>'
        for w in widths
    )
    probe = """<script>addEventListener("load", () => {
      const pages = [...document.querySelectorAll("iframe")].map(f => f.contentDocument)
      document.title = pages.map(p => p.documentElement.scrollWidth + ":" +
        p.documentElement.clientWidth).join(" ") })</script>"""
    file = tmp_path / "frames.html"
    file.write_text(f"<!DOCTYPE html><title>-</title>{probe}{frames}", "utf-8")
    dom = chromium("--dump-dom", f"file://{file}", profile=tmp_path / "profile")
    title = re.search(r"<title>([^<]*)</title>", dom)
    assert title, dom[:300]
    pairs = [tuple(map(int, pair.split(":"))) for pair in title[1].split()]
    assert len(pairs) == len(widths)
    assert all(w - 20 <= client <= w for w, (_, client) in zip(widths, pairs, strict=True))
    assert all(scroll <= client for scroll, client in pairs), pairs

    paper = []
    for theme in ("light", "dark"):
        flipped = text.replace("(prefers-color-scheme: dark)", "(min-width: 1px)")
        file = tmp_path / f"{theme}.html"
        file.write_text(flipped if theme == "dark" else text, "utf-8")
        shot = tmp_path / f"{theme}.png"
        chromium(f"--screenshot={shot}", "--window-size=1400,1200", f"file://{file}",
                 profile=tmp_path / "profile")  # fmt: skip
        with Image.open(shot) as image:
            red, *_ = image.convert("RGB").getpixel((5, 600))  # type: ignore[misc]
            paper.append(red)
    assert paper[0] > 240 and paper[1] < 40


def test_missing_models_do_not_break_the_page() -> None:
    evidence = example(scores=without("stock", "ppmd", "xz"))
    assert "No compressor was measured" in words.verdict(evidence)[2]
    page.render(evidence, samples(evidence), PNG)
