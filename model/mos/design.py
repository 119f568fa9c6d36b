"""Who hears what, when: orders that are balanced over conditions, clips and listeners.

A condition is a system or an anchor. Every block holds each condition once, in a row of a Williams
square, each with another clip; so each listener hears each condition equally often.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

Trial = tuple[int, int]
"""(clip, condition)."""
DRAWS = 64


def williams(conditions: int) -> list[list[int]]:
    """Return rows of a Latin square in which each condition follows each other equally often.

    After Williams (1949): `conditions` rows where that is even, twice as many where it is odd.
    """
    low, high, first = 1, conditions - 1, [0]
    for place in range(1, conditions):
        if place % 2:
            first.append(low)
            low += 1
        else:
            first.append(high)
            high -= 1
    rows = [[(value + shift) % conditions for value in first] for shift in range(conditions)]
    return rows + [row[::-1] for row in rows] if conditions % 2 else rows


def balanced_orders(
    conditions: int, clips: int, blocks: int, raters: int, seed: int
) -> list[list[Trial]]:
    """Return for each rater blocks x conditions trials, no trial twice.

    Listeners come in groups of `period`: within one, every (clip, condition) is heard equally
    often. A group draws its clips' order anew, the draw with the fewest clips twice in a row.
    """
    if not 1 <= blocks <= clips:
        raise ValueError(f"{blocks} clips for each listener, of a set of {clips}; take fewer")
    rng = random.Random(seed)
    labels = rng.sample(range(conditions), conditions)
    square = williams(conditions)
    step = 1 if blocks == clips else blocks
    period = clips // math.gcd(clips, step)

    def group(start: int) -> list[list[Trial]]:
        order = rng.sample(range(clips), clips)
        offsets = [value % clips for value in rng.sample(range(max(clips, conditions)), conditions)]
        found = []
        for rater in range(start, min(start + period, raters)):
            shift = (rater - start) * step
            found.append([
                (order[(block + offsets[c] + shift) % clips], labels[c])
                for block in range(blocks)
                for c in square[(rater + block) % len(square)]
            ])  # fmt: skip
        return found

    orders: list[list[Trial]] = []
    while len(orders) < raters:
        orders += min((group(len(orders)) for _ in range(DRAWS)), key=repeats)
    return orders


def repeats(orders: list[list[Trial]]) -> int:
    """Return how often a clip comes twice in a row."""
    pairs = ((a, b) for order in orders for a, b in pairwise(order))
    return sum(a[0] == b[0] for a, b in pairs)


def insert_checks(order: list[str], checks: list[str], rng: random.Random) -> list[str]:
    """Return `order` with the checks at chance places, one in each equal stretch, none first."""
    checks = rng.sample(checks, len(checks))
    out, last = [], 0
    for number, check in enumerate(checks):
        start, end = (len(order) * edge // len(checks) for edge in (number, number + 1))
        place = rng.randint(min(start + 1, end), end)
        out += [*order[last:place], check]
        last = place
    return out + order[last:]
