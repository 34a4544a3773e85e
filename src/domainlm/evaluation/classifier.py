"""A linear classifier over frozen features, with all that is chosen chosen on train alone.

Logistic regression with an L2 penalty; which of several features and which penalty is decided by
cross-validation in folds of whole groups, by log loss, which has fewer ties than accuracy where
labels are few. First the features at one penalty, then the penalty: a quarter of the fits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# C times the mean square length of a row, so that one grid does for words and hidden states.
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
TINY = 1e-9  # the least probability

Fold = tuple[Any, Any]  # places to learn from and places to test on


def decide(
    candidates: Sequence[Any], prepare: Any, labels: Any, folds: Sequence[Fold]
) -> tuple[int, float]:
    """Number of the best of `candidates`, and the best penalty with it.

    Each candidate has a row of features (or a text) a label; `prepare` is an unfitted transformer.
    """
    middle = PENALTIES[len(PENALTIES) // 2]
    best = 0
    if len(candidates) > 1:
        losses = [_losses(values, prepare, labels, folds, [middle])[0] for values in candidates]
        best = int(np.argmin(losses))
    losses = _losses(candidates[best], prepare, labels, folds, PENALTIES)
    return best, PENALTIES[int(np.argmin(losses))]


def predict(values: Any, prepare: Any, labels: Any, train: Any, test: Any, penalty: float) -> Any:
    """Labels of the places `test` by a classifier of the places `train`."""
    from sklearn.base import clone

    ready = clone(prepare)
    seen = ready.fit_transform(values[train])
    fitted = _regression(seen, penalty).fit(seen, labels[train])
    return fitted.predict(ready.transform(values[test]))


def _regression(rows: Any, penalty: float) -> Any:
    """Unfitted. Rows of TF-IDF have length 1, standardised ones a square length of their width."""
    from sklearn.linear_model import LogisticRegression

    square = rows.shape[1] if isinstance(rows, np.ndarray) else 1
    return LogisticRegression(C=penalty / square, max_iter=500)


def _losses(
    values: Any, prepare: Any, labels: Any, folds: Sequence[Fold], penalties: Sequence[float]
) -> Any:
    """Log loss of each penalty, in nats, summed over the folds' test places."""
    from sklearn.base import clone

    losses = np.zeros(len(penalties))
    for train, test in folds:
        ready = clone(prepare).fit(values[train])
        seen, new = ready.transform(values[train]), ready.transform(values[test])
        for number, penalty in enumerate(penalties):
            fitted = _regression(seen, penalty).fit(seen, labels[train])
            # A label that this fold has not learned has no probability at all.
            right = fitted.predict_proba(new)[labels[test][:, None] == fitted.classes_]
            losses[number] -= np.log(np.maximum(right, TINY)).sum()
            losses[number] -= (len(test) - len(right)) * np.log(TINY)
    return losses
