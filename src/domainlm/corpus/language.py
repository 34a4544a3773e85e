"""The language of a text, offline: py3langid, whose model of 140 languages is in its package.

Naive Bayes over byte n-grams: Lui and Baldwin 2012, https://aclanthology.org/P12-3005.
"""

import re
from functools import cache
from typing import Any

LETTERS = 300  # characters read of each third: the model takes about 1 ms for them
FEWEST = 20  # letters: with less no language is named
_NOISE = re.compile(r"https?://\S+|[\d|_$%&()\[\]{}<>=+*#@/\\^~\u00b7\u2022\u2026\u2013\u2014-]+")


def language(text: str) -> tuple[str, float]:
    """Language of a text and confidence, 0 to 1; ("und", 0.0) of a text with too few letters.

    The code is that of ISO 639-1, or 639-3 for the few languages that have no other. The
    confidence is the model's own, rounded, so that it is the same on every machine.
    """
    sample = _sample(text)
    if sum(map(str.isalpha, sample)) < FEWEST:
        return "und", 0.0
    code, confidence = _identifier().classify(sample)
    return ("und", 0.0) if code == "zxx" else (str(code), round(float(confidence), 3))


def _sample(text: str) -> str:
    """The first words of each third of the text; figures, bars, rules and links are out."""
    third = len(text) // 3 + 1
    reach = min(third, 4 * LETTERS)  # in which to find so many
    parts = (text[start : start + reach] for start in (0, third, 2 * third))
    return " ".join(" ".join(_NOISE.sub(" ", part).split())[:LETTERS] for part in parts)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
