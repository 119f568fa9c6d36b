"""What does a code tell about the next one? Bits per code of counted pairs and triples.

The reference for a model that gives codes a probability: what is not below the trigram's figure has
learnt no more than which codes follow each other.

Symbols: S segments, L codes, K entries of the codebook.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

ORDERS = {1: "unigram", 2: "bigram", 3: "trigram"}
WEIGHTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""The candidates for the weight of the shorter context, in codes."""

Counts = tuple[np.ndarray, np.ndarray]
"""Sorted numbers, and how often each occurs."""


@dataclass(frozen=True)
class NGrams:
    """Counts of the codes of a training split: how often each code, pair and triple occurs.

    `grams[n]` holds the sorted n-grams as numbers and their counts, `contexts[n]` the same for the
    n - 1 codes before a code. `weights[n]` is the weight of the shorter context, chosen by `fit`.
    """

    size: int
    grams: dict[int, Counts]
    contexts: dict[int, Counts]
    weights: dict[int, float]

    def bits(self, codes: np.ndarray, order: int) -> np.ndarray:
        """Return the bits per code (S,) of codes (S, L), from up to `order` - 1 codes before each.

        A code with fewer codes before it is predicted from those.
        """
        return -np.log2(self._probability(np.asarray(codes, np.int64), order)).mean(1)

    def _probability(self, codes: np.ndarray, order: int) -> np.ndarray:
        """Return the probability (S, L) of each code.

        With c the count of a context followed by the code, n that of the context and w the weight:
        (c + w p) / (n + w), where p is the probability from the context that is one code shorter
        (Dirichlet smoothing; MacKay & Bauman Peto 1995). The unigram has half a count for each
        entry in advance.
        """
        if order == 1:
            seen = _count(self.grams[1], codes)
            return (seen + 0.5) / (self.grams[1][1].sum() + 0.5 * self.size)
        found, weight = self._probability(codes, order - 1), self.weights[order]
        times = _count(self.grams[order], joined(codes, order, self.size))
        context = _count(self.contexts[order], joined(codes[:, :-1], order - 1, self.size))
        shorter = found[:, order - 1 :]
        return np.hstack([found[:, : order - 1], (times + weight * shorter) / (context + weight)])


def fit(training: np.ndarray, validation: np.ndarray, size: int) -> NGrams:
    """Count the codes (S, L) of the training split; choose the weights on the validation split's.

    `size` is the number of entries of the codebook. Raises ValueError for codes outside it.
    """
    training, validation = (np.asarray(codes, np.int64) for codes in (training, validation))
    for codes in (training, validation):
        if codes.ndim != 2 or not codes.size or codes.min() < 0 or codes.max() >= size:
            raise ValueError(f"codes {codes.shape}: expected (S, L), each from 0 to {size - 1}")
    grams = {order: _counts(joined(training, order, size)) for order in ORDERS}
    contexts = {n: _counts(joined(training[:, :-1], n - 1, size)) for n in ORDERS if n > 1}
    found = NGrams(size, grams, contexts, {})
    for order in contexts:
        tried = {
            weight: replace(found, weights=found.weights | {order: weight}) for weight in WEIGHTS
        }
        found = min(tried.values(), key=lambda each: float(each.bits(validation, order).mean()))
    return found


def _counts(numbers: np.ndarray) -> Counts:
    known, counts = np.unique(numbers, return_counts=True)
    return known, counts


def _count(of: Counts, wanted: np.ndarray) -> np.ndarray:
    known, counts = of
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, counts[place], 0)


def joined(codes: np.ndarray, order: int, size: int) -> np.ndarray:
    """Return the n-grams of codes (S, L) as numbers (S, L - order + 1) in base `size`."""
    count = codes.shape[1] - order + 1
    parts = [codes[:, i : i + count] * size ** (order - 1 - i) for i in range(order)]
    return np.sum(parts, 0)
