"""Card and post: no empty field, numbers of the evidence, and honest where a model loses."""

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.evaluation import features
from domainlm.evaluation import models as loaded
from domainlm.evaluation.evidence import Evidence
from domainlm.report import arms, card, post, view
from domainlm.report.arms import would_take
from provenance_helpers import DECLARED, MEASURED, TRAINING
from report_examples import RECIPE, SCORES, example, variants, without
from small import write_stock

VARIANTS = {name: view.tidy(evidence) for name, evidence in variants().items()}
SECTIONS = ["Model details", "Uses", "Bias, risks and limitations", "How to get started",
            "Training", "Evaluation", "Environmental impact", "More"]  # fmt: skip
CELL = r"(?:\\.|[^|\\])+"


def body(text: str) -> str:
    return text.split("\n---\n", 1)[1]


# --- the card -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("training", [None, TRAINING])
def test_the_hub_reads_the_card_and_no_field_is_empty(name: str, training: Any) -> None:
    text = card.card(VARIANTS[name], "scratch", training)
    head = ModelCard(text).data
    assert head.library_name == "transformers" and head.pipeline_tag == "text-generation"
    assert re.findall(r"(?m)^## (.*)$", text) == SECTIONS
    for part in re.split(r"(?m)^#+ .*$", body(text))[1:]:
        assert part.strip()
    rows = re.findall(r"(?m)^\|.*$", body(text))
    assert len(rows) > 25
    for row in rows:
        assert re.fullmatch(
            r"\|(?: |---)\|(?: |---)\||\| " + CELL + r" \| " + CELL + r" \|", row
        ), row
    for line in text.splitlines():
        assert not re.fullmatch(r"- *(?:[\w ]+:)? *", line), line
    assert not re.search(r"None|More Information|\bnan\b", body(text))


def test_the_hub_reads_the_results() -> None:
    evidence = VARIANTS["continued_wins"]
    results = ModelCard(card.card(evidence, "continued")).data.eval_results
    assert results is not None
    found = {row.metric_name: row.metric_value for row in results}
    assert found == {f"bits per byte, {s}": SCORES[s]["continued"] for s in ("unseen", "seen")}
    assert not ModelCard(card.card(VARIANTS["nothing"], "scratch")).data.eval_results


def test_what_was_declared_is_said_and_what_was_not_is_not() -> None:
    text = card.card(example(recipe=RECIPE + DECLARED), "scratch")
    assert ModelCard(text).data.license == "apache-2.0" and "| Licence | apache-2.0 |" in text
    assert "“CC-BY-4.0”, as the user declares it" in text and "not checked: “own hardware" in text
    other = RECIPE + '[provenance]\nmodel_licence = "Ours alone: ask"\n'
    head = ModelCard(card.card(example(recipe=other), "scratch")).data
    assert head.license == "other" and head.license_name == "Ours alone: ask"
    plain = card.card(example(), "scratch")
    assert ModelCard(plain).data.license is None and "decide before you pass it on" in plain
    assert "Licence of the text: not declared" in plain


def test_the_settings_of_training_are_in_the_card() -> None:
    text = card.card(example(), "scratch", TRAINING)
    for row in ("| Optimizer | muon |", "| Learning rate | 0.006 |", "| Batch tokens | 8,192 |",
                "| Steps | 368 |", "| Tokens per second | 9,662.4 |"):  # fmt: skip
        assert row in text
    assert "| Optimizer | not recorded |" in card.card(example(), "scratch")


def test_what_was_measured_beyond_the_default_is_in_the_card_of_its_arm() -> None:
    evidence = example(**MEASURED)
    scratch, continued = (card.card(evidence, arm) for arm in ("scratch", "continued"))
    assert "17 of 400 that stand once in train" in scratch
    assert "Text of train comes out more often" in scratch
    assert "17 of 400" not in continued and "is not shown" in continued
    assert "email 3 times, 2 of them as in train" in scratch
    assert "Personal data in what models write: not measured" in continued
    assert "standard deviation of 0.0042" in scratch and "0.0042" not in continued
    assert "scratch-stock" in scratch and "scratch-stock" not in continued
    assert "“continued” has 0.970" in continued and "“continued” has 0.970" not in scratch


def test_a_hostile_name_stays_in_its_cell_and_in_its_string() -> None:
    recipe = RECIPE + '[provenance]\nlicence = "a | b\\n# c"\nmodel_licence = "x\\n---\\ny: <b>"\n'
    evidence = view.tidy(variants()["hostile"].model_copy(update={"recipe": recipe}))
    text = card.card(evidence, "scratch")
    head = ModelCard(text).data
    assert head.license == "other" and head.license_name == "x --- y: <b>"
    assert text.count("\n---\n") == 1 and "\n# c" not in text and r"a \| b \# c" in text


# --- the code of the card ---------------------------------------------------------------------


def probed(layer: int, pooling: str) -> Evidence:
    row = {**example().model_dump()["probe"][0], "features": "scratch", "layer": layer,
           "pooling": pooling}  # fmt: skip
    smaller = {**row, "labels_per_class": 8, "layer": layer + 1}
    return example(probe=[row, smaller])


def write_model(folder: Path, kind: str) -> None:
    """A tiny model of random weights, of the kinds that runs export."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    write_stock(folder)  # GPT-2, and a tokenizer
    if kind != "gpt2":
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
        if kind == "lfm2":
            heads = {"num_attention_heads": 2, "num_key_value_heads": 2,
                     "layer_types": ["conv", "full_attention"]}  # fmt: skip
        config = AutoConfig.for_model(
            kind, vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            max_position_embeddings=128, bos_token_id=0, eos_token_id=0, pad_token_id=0, **heads,
        )  # fmt: skip
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("kind", "pooling"), [("gpt2", "mean"), ("lfm2", "mean"), ("qwen3", "last"), ("llama", "mean")]
)
def test_the_code_of_the_card_runs_as_it_stands(
    kind: str, pooling: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    import torch

    folder = tmp_path / "models" / "scratch"
    write_model(folder, kind)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    generate, embed, classify = re.findall(
        r"(?s)```python\n(.*?)```", card.card(probed(1, pooling), "scratch")
    )
    assert 14 <= len(classify.splitlines()) <= 20
    space: dict[str, Any] = {}
    exec(generate, space)
    assert capsys.readouterr().out.startswith("In the year ended")
    assert 0 < space["written"].shape[1] - space["start"]["input_ids"].shape[1] <= 40
    exec(embed, space)
    assert capsys.readouterr().out == "torch.Size([2, 32])\n"
    texts = ["One of them is quite a bit longer than the other text.", "Short.", "x"]
    tokenizer, separator = loaded.plain_tokenizer(folder), loaded.separator_id(folder)
    states = features.hidden_states(space["base"], tokenizer, texts, 128, separator, 2)
    same = states.values[states.layers.index(1), features.POOLINGS.index(pooling)]
    with torch.inference_mode():
        ours = space["embed"](texts)
        assert space["embed"]([""]).isfinite().all()
    torch.testing.assert_close(ours, torch.from_numpy(same), rtol=1e-4, atol=1e-5)
    before = {name: w.clone() for name, w in space["base"].named_parameters()}
    exec(classify, space)
    with torch.inference_mode():
        answers = space["head"](space["embed"](space["texts"])).argmax(-1)
    assert answers.tolist() == space["labels"].tolist()
    assert any(not torch.equal(w, before[n]) for n, w in space["base"].named_parameters())


def test_the_card_tells_the_hardest_probe_beside_its_own_bag_of_words() -> None:
    row = example().model_dump()["probe"][0]
    hard, easy = ["1", "2", "3"], ["1", "2"]
    rows = [
        {**row, "task": f"which of {len(labels)}", "labels": labels, "features": features,
         "accuracy": accuracy}
        for labels, features, accuracy in (
            (hard, "TF-IDF", 0.61), (hard, "scratch", 0.52), (easy, "TF-IDF", 0.93),
            (easy, "scratch", 0.94),
        )
    ]  # fmt: skip
    text = card.card(example(probe=rows), "scratch")
    assert "asked which of 3, 52.0 % right; a bag of words 61.0 %" in text


def test_without_a_probe_of_the_arm_the_card_takes_the_last_layer() -> None:
    assert 'LAYER, POOLING = -1, "mean"' in card.card(example(), "scratch")
    assert 'LAYER, POOLING = 3, "last"' in card.card(probed(3, "last"), "scratch")
    assert 'LAYER, POOLING = -1, "mean"' in card.card(probed(3, "last"), "continued")


# --- what it would take ---------------------------------------------------------------------


def test_a_losing_arm_is_told_what_it_takes_and_a_winning_one_nothing() -> None:
    evidence = VARIANTS["continued_wins"]
    assert would_take(evidence, "continued") == ""
    said = would_take(evidence, "scratch")
    assert "To draw level with the stock model “scratch” would take" in said
    assert "The arm “continued”, a start from the stock model, is ahead of it." in said
    assert arms.escape(said) in card.card(evidence, "scratch")
    assert arms.escape(said.partition(" The arm")[0]) in post.post(evidence)
    winner = example(scores=without("scratch"))
    assert would_take(winner, "continued") == "" and "would take" not in post.post(winner)


def test_without_stock_there_is_nothing_to_reach() -> None:
    assert would_take(VARIANTS["no_stock"], "scratch") == ""


@given(st.integers(2, 400), st.floats(0.001, 0.2), st.floats(1.1, 20))
@settings(max_examples=20)
def test_groups_needed_grow_with_the_square_of_the_interval(
    groups: int, difference: float, wide: float
) -> None:
    scores = {"unseen": {"stock": 1.0, "scratch": 1.0 - difference}}
    said = would_take(example(scores=scores, groups=groups, half=difference * wide), "scratch")
    number = int(re.search(r"about ([\d,]+),", said)[1].replace(",", ""))  # type: ignore[index]
    assert said in post.post(example(scores=scores, groups=groups, half=difference * wide))
    assert number > groups and number == pytest.approx(groups * wide**2, rel=0.02, abs=2)


def test_one_group_needs_more_and_no_number_is_made_up() -> None:
    said = would_take(example(groups=1), "scratch")
    assert said == "To tell “scratch” from the stock model takes text of more companies than 1."


def test_only_leaves_the_other_arms_out() -> None:
    alone = arms.only(example(**MEASURED), "continued")
    assert view.arms(alone) == ["continued"] and "stock" in alone.models and "xz" in alone.models
    assert [g.gap for g in alone.gates] == ["continued-stock"] and not alone.spreads
    assert {row.model for row in alone.general} == {"stock", "continued"}


# --- the post -------------------------------------------------------------------------------


def test_the_note_asks_four_people_and_tells_them_the_doubts() -> None:
    ask, channel = post.post(example(**MEASURED)).split("# Then: the post")
    assert "one who knows these filings, one who knows statistics" in ask.replace("\n", " ")
    assert "29.0 % of the 13-word sequences of one unseen filing" in ask  # the audit's maximum
    assert "NOT met" in ask and "scratch-stock" in ask and "continued-stock" not in ask
    assert "17 of 400" in ask and "17 of 400" in channel
    assert "which sentence would you not sign" in ask.replace("\n", " ")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_post_has_all_its_parts_and_claims_no_conformity(name: str) -> None:
    text = post.post(VARIANTS[name])
    parts = ["# First", "The claim:", "What I am least sure of:", "# Then", "**Data and hardware",
             "**What it may give away.**", "**What it is not.**", "To do it again:"]  # fmt: skip
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    cards = [card.card(VARIANTS[name], arm) for arm in view.arms(VARIANTS[name])]
    assert not re.search(
        r"(?i)complian|certif|conform|guarant|state of the art", text + "".join(cards)
    )


def changed(evidence: Evidence, part: str, **values: Any) -> Evidence:
    rows = [{**row, **values} for row in evidence.model_dump()[part]]
    return Evidence.model_validate(evidence.model_dump() | {part: rows})


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("memorization", {"exact": 23}), ("extraction", {"ci95": (0.031, 0.072)}),
        ("personal", {"in_train": 1}), ("general", {"bits_per_byte": 1.31}),
        ("gates", {"max": -0.2}), ("spreads", {"sd": 0.0061}),
    ],
)  # fmt: skip
def test_the_new_numbers_come_from_the_evidence(part: str, values: dict[str, Any]) -> None:
    evidence = example(**MEASURED)
    other = changed(evidence, part, **values)
    assert card.card(other, "scratch") != card.card(evidence, "scratch")
    assert post.post(other) != post.post(evidence)
