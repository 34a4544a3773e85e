"""Quality rules on either side of their thresholds, lines taken out, and languages."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domainlm.corpus.language import language
from domainlm.corpus.quality import (
    GROUPS,
    LINE_RULES,
    RULES,
    _Document,
    dropped_lines,
    expand,
    failed,
)
from domainlm.errors import USAGE, DomainLMError

ALL = expand(list(GROUPS))


def words(count: int, first: int = 0) -> list[str]:
    """Different words of five letters and a digit."""
    return [f"abc{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}9" for i in range(first, first + count)]


def rows(good: int, bad: str, count: int) -> str:
    """Different lines, then `count` of lines that differ in their numbers: `bad` is their form."""
    first = [f"line {i} is here." for i in range(good)]
    return "\n".join(first + [bad.format(i) for i in range(count)])


def again(text: str, other: int, times: int, gap: str = "\n") -> str:
    """`text` so many times, between `other` different lines of its length."""
    return gap.join([*(f"{i:0{len(text)}d}" for i in range(other)), *[text] * times])


def salted(gram: str, times: int, between: int) -> str:
    """An n-gram so many times, each followed by other words (of six letters)."""
    other = iter(words(times * between))
    return " ".join(w for _ in range(times) for w in [gram, *(next(other) for _ in range(between))])


# rule, a text that just holds, one that just fails
THRESHOLDS = [
    ("gopher_word_count", " ".join(words(50)), " ".join(words(49)) + " . , !"),
    ("gopher_word_count", "word " * 100_000, "word " * 100_001),
    ("gopher_mean_word_length", "abc", "abc ab"),
    ("gopher_mean_word_length", "abcdefghij", "abcdefghij abcdefghijk"),
    ("gopher_symbol_ratio", "# " + "word " * 9, "# " + "word " * 8),
    ("gopher_symbol_ratio", "word… " + "word " * 8, "word… " + "word " * 7),
    ("gopher_bullet_lines", rows(1, "• {}", 9), rows(1, "- {}", 10)),
    ("gopher_ellipsis_lines", rows(7, "more {}...", 3), rows(7, "more {}…", 4)),
    ("gopher_alphabetic_words", "a b c d 1", "a b c d 1 ."),
    ("gopher_stop_words", "the cat and", "the cat the"),
    ("gopher_duplicate_paragraphs", again("ab", 6, 4, "\n\n"), again("ab", 6, 5, "\n\n\n")),
    (
        "gopher_duplicate_paragraph_characters",
        again("abcd", 2, 2, "\n\n"),
        again("abcd", 1, 2, "\n\n"),
    ),
    ("gopher_duplicate_lines", again("ab", 6, 4), again("ab", 5, 4)),
    ("gopher_duplicate_line_characters", again("abcd", 3, 2), again("abcd", 2, 2)),
    ("gopher_top_2_gram", salted("to be", 4, 3), salted("to be", 4, 2)),
    ("gopher_top_3_gram", salted("a b c", 4, 4), salted("a b c", 4, 3)),
    ("gopher_top_4_gram", salted("a b c d", 4, 6), salted("a b c d", 4, 5)),
    ("gopher_duplicate_5_grams", salted("to be or is it", 5, 6), salted("to be or is it", 5, 5)),
    *(
        (
            f"gopher_duplicate_{n}_grams",
            salted(" ".join("abcdefghij"[:n]), 8, between),
            salted(" ".join("abcdefghij"[:n]), 8, between - 1),
        )
        for n, between in ((6, 4), (7, 5), (8, 7), (9, 8), (10, 10))
    ),
    ("c4_lorem_ipsum", "Lorem and ipsum.", "So: LOREM IPSUM dolor."),
    ("c4_curly_bracket", "if (x) [y]", "if (x) {y}"),
    ("c4_few_sentences", "One. Two! Three? “Four.” 5.5 is five", "One. Two! Three? Four 5.5."),
    ("fineweb_line_punctuation", rows(3, "{} and so on", 22), rows(3, "{} and so on", 23)),
    (
        "fineweb_short_lines",
        rows(67, "{:031d}", 33),
        rows(68, "{:031d}", 32),
    ),
    ("fineweb_duplicate_characters", again("a" * 20, 98, 2), again("a" * 20, 97, 2)),
    ("fineweb_new_lines", "a\nb\nc\nd e f g h i j", "a\nb\nc\nd e f g h i"),
]


@pytest.mark.parametrize(("rule", "holds", "fails"), THRESHOLDS)
def test_a_rule_has_its_threshold(rule: str, holds: str, fails: str) -> None:
    assert failed(holds, [rule]) is None
    assert failed(fails, [rule]) == rule


def test_every_rule_has_such_a_pair() -> None:
    assert {rule for rule, _, _ in THRESHOLDS} == set(RULES)


def test_words_are_about_those_of_spacy() -> None:
    text = "The Company's U.S. sales (10-K) rose 5.6% to $1,234.5, see a/b..."
    expected = "The Company 's U.S. sales ( 10 - K ) rose 5.6 % to $ 1,234.5 , see a / b ..."
    vocabulary, ids = _Document(text).words
    assert [vocabulary[i] for i in ids] == expected.split()


TOKENS = st.lists(st.sampled_from(["a", "b", "cc", "d.", "'s", "e-f"]), max_size=60)


@given(TOKENS, st.permutations(range(2, 11)))
def test_ngrams_are_those_of_the_plain_algorithm(chosen: list[str], order: list[int]) -> None:
    text = " ".join(chosen)
    document = _Document(text)
    vocabulary, ids = document.words
    read = [vocabulary[i] for i in ids]
    for n in order:
        grams = [read[i : i + n] for i in range(len(read) - n + 1)]
        seen, total, at = set(), 0, 0
        while at < len(grams):
            gram = tuple(grams[at])
            total += len("".join(gram)) if gram in seen else 0
            at += n if gram in seen else 1
            seen.add(gram)
        (top, times), *_ = Counter(map(" ".join, grams)).most_common(1) or [("", 0)]
        assert document.duplicate_grams(n) == total / max(1, len(text))
        assert document.top_gram(n) == len(top) * times / max(1, len(text))


def test_groups_become_their_rules_in_one_order() -> None:
    assert expand(["fineweb", "gopher_stop_words", "fineweb_new_lines"]) == (
        "gopher_stop_words",
        *GROUPS["fineweb"],
    )
    assert expand(["c4"])[: len(LINE_RULES)] == tuple(LINE_RULES)
    assert set(ALL) == {*RULES, *LINE_RULES}
    assert expand([]) == ()


def test_an_unknown_rule_has_a_suggestion() -> None:
    with pytest.raises(DomainLMError, match="did you mean 'gopher_word_count'") as caught:
        expand(["c4", "gopher_words_count"])
    assert caught.value.exit_code == USAGE


def without(text: str, spans: list[tuple[int, int, str]]) -> str:
    for start, end, _ in reversed(spans):
        text = text[:start] + text[end:]
    return text


@pytest.mark.parametrize(
    ("rule", "line", "kept"),
    [
        ("c4_long_word", "a " + "x" * 1001, "a " + "x" * 1000 + " b"),
        ("c4_no_terminal_punctuation", "It goes on...", "It ends.[12]"),
        ("c4_no_terminal_punctuation", "It goes on;", "It is \u201cover.\u201d  "),
        ("c4_short_line", "Two words.", "Now three words."),
        ("c4_javascript", "Please turn on JavaScript now.", "Please turn on Java now."),
        ("c4_policy", "See our Privacy Policy first.", "See our policy on privacy."),
    ],
)
def test_a_line_rule_takes_out_its_line(rule: str, line: str, kept: str) -> None:
    text = f"{kept}\n{line}\n{kept}"
    assert dropped_lines(text, [rule]) == [(len(kept) + 1, len(kept) + len(line) + 2, rule)]
    assert failed(line, [rule]) is None  # of lines alone
    assert dropped_lines(text, list(RULES)) == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("One is.\nno\nTwo is.", "One is.\nTwo is."),
        ("One is.\n\nno\n\nTwo is.\n", "One is.\n\nTwo is.\n"),
        ("One is.\nno\n\nTwo is.", "One is.\n\nTwo is."),
        ("One is.\nno\n\n\nTwo is.", "One is.\n\n\nTwo is."),
        ("One is.\n\nno\nTwo is.", "One is.\n\nTwo is."),
        ("One is.\n\nno\n\nno\n\n\nTwo is.", "One is.\n\nTwo is."),
        ("no\n\nOne is.", "One is."),
        ("One is.\n\nno\n\nno\n\n", "One is."),
        ("One is.\nno", "One is."),
        ("no\nno", ""),
        ("One is.\n\n\n", "One is.\n\n\n"),
    ],
)
def test_what_is_left_reads_as_if_the_line_had_never_been_there(text: str, left: str) -> None:
    assert without(text, dropped_lines(text, ["c4_no_terminal_punctuation"])) == left


PIECES = [
    "a",
    "No",
    "It is so.",
    " ",
    "\n",
    "\n\n",
    "\r\n",
    "...",
    "{",
    "javascript.",
    "\u2028",
    "é",
]
TEXTS = st.one_of(
    st.text(st.characters(codec=None)), st.lists(st.sampled_from(PIECES)).map("".join)
)


@given(TEXTS)
@example("\ud800 \x00\n\U0001f600 a.")
def test_spans_are_lines_and_taking_them_out_twice_is_taking_them_out(text: str) -> None:
    spans = dropped_lines(text, ALL)
    assert all(name in LINE_RULES for _, _, name in spans)
    edges = [edge for start, end, _ in spans for edge in (start, end)]
    assert edges == sorted(edges)
    assert all(0 <= start < end <= len(text) for start, end, _ in spans)
    left = without(text, spans)
    assert dropped_lines(left, ALL) == []
    kept = [line.strip() for line in text.split("\n") if not dropped_lines(line, ALL)]
    assert [x for line in left.split("\n") if (x := line.strip())] == [x for x in kept if x]


@given(TEXTS)
@example("\ud800\udfff")
@settings(max_examples=200)
def test_any_text_is_judged_and_always_the_same(text: str) -> None:
    first = failed(text, ALL)
    assert first == failed(text, ALL[::-1])
    assert first is None or failed(text, [first]) == first
    assert first is None or not any(failed(text, [r]) for r in ALL[: ALL.index(first)])


def prose(sentences: int, seed: int) -> str:
    rng = random.Random(seed)
    lexicon = ["".join(rng.choices("aeioulnrst", k=rng.randint(3, 8))) for _ in range(400)]

    def sentence() -> str:
        chosen = [*rng.choices(lexicon, k=9), "the", "of"]
        rng.shuffle(chosen)
        return " ".join(chosen).capitalize() + "."

    return "\n\n".join(" ".join(sentence() for _ in range(4)) for _ in range(sentences // 4))


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        (prose(40, 1), None),
        ("", "gopher_word_count"),
        ("word " * 200, "gopher_stop_words"),
        ("the word of " * 200, "gopher_top_2_gram"),
        (prose(40, 1) + "\n\n" + prose(40, 1), "gopher_duplicate_paragraphs"),
        (prose(40, 1) + "\n\nBody {color: red}.", "c4_curly_bracket"),
        (prose(40, 1).replace(".", ";").replace("\n\n", " "), "c4_few_sentences"),
        (prose(40, 1).replace(".", ";"), "fineweb_line_punctuation"),
        ("| 1,234.5 | 99 % | (2.0) |\n" * 50, "gopher_alphabetic_words"),
    ],
)
def test_decisions_on_whole_texts(text: str, decision: str | None) -> None:
    assert failed(text, ALL) == decision


# Translations of: "The bank was founded last year in a small town by the sea. Its first customers
# were fishermen who wanted to buy new boats. Today it lends money to people all over the country."
LANGUAGES = {
    "en": "The bank was founded last year in a small town by the sea. Its first customers were "
    "fishermen who wanted to buy new boats. Today it lends money to people all over the country.",
    "de": "Die Bank wurde letztes Jahr in einer kleinen Stadt am Meer gegründet. Ihre ersten "
    "Kunden waren Fischer, die neue Boote kaufen wollten. Heute leiht sie Menschen "
    "im ganzen Land Geld.",
    "fr": "La banque a été fondée l'année dernière dans une petite ville au bord de la mer. Ses "
    "premiers clients étaient des pêcheurs qui voulaient acheter de nouveaux bateaux. Aujourd'hui, "
    "elle prête de l'argent à des gens dans tout le pays.",
    "es": "El banco se fundó el año pasado en una pequeña ciudad junto al mar. Sus primeros "
    "clientes eran pescadores que querían comprar barcos nuevos. Hoy presta dinero a personas de "
    "todo el país.",
    "it": "La banca è stata fondata l'anno scorso in una piccola città sul mare. I suoi primi "
    "clienti erano pescatori che volevano comprare nuove barche. Oggi presta denaro a persone in "
    "tutto il paese.",
    "pt": "O banco foi fundado no ano passado numa pequena cidade à beira do mar. Os seus "
    "primeiros clientes eram pescadores que queriam comprar barcos novos. Hoje empresta "
    "dinheiro a pessoas em todo o país.",
    "nl": "De bank werd vorig jaar opgericht in een kleine stad aan zee. De eerste klanten waren "
    "vissers die nieuwe boten wilden kopen. Vandaag leent zij geld aan mensen in het hele land.",
    "sv": "Banken grundades förra året i en liten stad vid havet. Dess första kunder var fiskare "
    "som ville köpa nya båtar. I dag lånar den ut pengar till människor i hela landet.",
    "pl": "Bank został założony w zeszłym roku w małym mieście nad morzem. Jego pierwszymi "
    "klientami byli rybacy, którzy chcieli kupić nowe łodzie. Dziś pożycza pieniądze ludziom w "
    "całym kraju.",
    "cs": "Banka byla založena minulý rok v malém městě u moře. Jejími prvními zákazníky byli "
    "rybáři, kteří si chtěli koupit nové lodě. Dnes půjčuje peníze lidem po celé zemi.",
    "fi": "Pankki perustettiin viime vuonna pienessä kaupungissa meren rannalla. Sen ensimmäiset "
    "asiakkaat olivat kalastajia, jotka halusivat ostaa uusia veneitä. Nykyään se lainaa rahaa "
    "ihmisille koko maassa.",
    "tr": "Banka geçen yıl deniz kıyısındaki küçük bir kasabada kuruldu. İlk müşterileri yeni "
    "tekneler almak isteyen balıkçılardı. Bugün ülkenin her yerindeki insanlara borç para veriyor.",
    "ru": "Банк был основан в прошлом году в маленьком городе у моря. Его первыми клиентами были "
    "рыбаки, которые хотели купить новые лодки. Сегодня он одалживает деньги людям по всей стране.",
    "uk": "Банк було засновано минулого року в маленькому місті біля моря. Його першими клієнтами "
    "були рибалки, які хотіли купити нові човни. Сьогодні він позичає гроші людям по всій країні.",
    "el": "Η τράπεζα ιδρύθηκε πέρυσι σε μια μικρή πόλη δίπλα στη θάλασσα. Οι πρώτοι πελάτες της "
    "ήταν ψαράδες που ήθελαν να αγοράσουν νέες βάρκες. Σήμερα δανείζει χρήματα σε ανθρώπους σε όλη "
    "τη χώρα.",
    "ar": "تأسس البنك في العام الماضي في مدينة صغيرة على البحر. كان أول عملائه صيادين أرادوا شراء "
    "قوارب جديدة. واليوم يقرض المال للناس في جميع أنحاء البلاد.",
    "hi": "बैंक की स्थापना पिछले साल समुद्र के किनारे एक छोटे शहर में हुई थी। उसके पहले ग्राहक मछुआरे थे जो नई "
    "नावें खरीदना चाहते थे। आज वह पूरे देश में लोगों को पैसा उधार देता है।",
    "ja": "その銀行は昨年、海辺の小さな町に設立されました。最初の顧客は新しい船を買いたいと"
    "思っていた漁師たちでした。今日では全国の人々にお金を貸しています。",
    "zh": "这家银行去年在海边的一个小镇成立。它最早的客户是想买新船"
    "的渔民。今天它向全国各地的人们提供贷款。",
    "ko": "그 은행은 작년에 바닷가의 작은 마을에서 설립되었습니다. 첫 고객은 새 배를 사고 싶어 "
    "하던 어부들이었습니다. 오늘날 그 은행은 전국의 사람들에게 돈을 빌려줍니다.",
}


@pytest.mark.parametrize("code", sorted(LANGUAGES))
def test_a_language_is_known_by_three_sentences(code: str) -> None:
    found, confidence = language(LANGUAGES[code])
    assert found == code
    assert 0.5 < confidence <= 1


def test_a_language_is_known_among_tables_and_links() -> None:
    row = "| 1,234.5 | 99 % | https://example.org/the/page/of/it |\n"
    assert language(row * 9 + LANGUAGES["de"] + row * 5)[0] == "de"
    assert language(LANGUAGES["de"].upper())[0] == "de"


def test_a_language_is_that_of_most_of_the_text() -> None:
    front = LANGUAGES["en"] + "\n\n"
    assert language(front + (LANGUAGES["fr"] + "\n") * 200)[0] == "fr"


@pytest.mark.parametrize(
    "text", ["", "| 1 | 2 |\n" * 500, "No.", "https://example.org/abcdefghijklmno"]
)
def test_no_language_is_named_without_letters(text: str) -> None:
    assert language(text) == ("und", 0.0)


@pytest.mark.slow
def test_filings_are_english(filings: Path) -> None:
    texts = sorted((filings / "mda-2018-2023" / "mda").rglob("*.txt"))[::40]
    assert {language(path.read_text(encoding="utf-8"))[0] for path in texts} == {"en"}


@given(TEXTS)
def test_any_text_has_a_language_or_none(text: str) -> None:
    code, confidence = language(text)
    assert code.isalpha() and 2 <= len(code) <= 3
    assert 0 <= confidence <= 1
    assert (code, confidence) == language(text)
