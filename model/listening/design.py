"""The order of trials for each listener, balanced over conditions, clips and listeners.

A condition is a system or an anchor. Every block has each condition once, in the order of a row of
a Williams square, and each with a different clip. So each listener hears each condition equally
often.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise

Trial = tuple[int, int]
"""(clip, condition)."""
DRAWS = 64


def williams(conditions: int) -> list[list[int]]:
    """Return a Latin square whose rows have each condition after each other one equally often.

    After Williams (1949): `conditions` rows if that number is even, twice as many if it is odd.
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
    """Return blocks x conditions trials for each listener, no trial twice.

    Listeners are in groups of `period`; in each group every (clip, condition) is heard equally
    often. The orders of each group are drawn at random several times. The draw with the fewest
    orders that exist already is used, then that with the fewest repetitions of a clip in a row.
    """
    if not 1 <= blocks <= clips:
        raise ValueError(f"{blocks} clips for each listener, but the set has {clips}; use fewer")
    rng = random.Random(seed)
    labels = rng.sample(range(conditions), conditions)
    square = williams(conditions)
    step = 1 if blocks == clips else blocks
    period = clips // math.gcd(clips, step)

    def rows_of(rater: int, ahead: list[int]) -> list[list[int]]:
        return [square[(rater + row) % len(square)] for row in ahead]

    def drawn_round() -> list[int]:
        """Return the offset of each block's row from a listener's first row.

        The offsets are used for as many listeners as there are rows. Each of them starts at
        another row, so together they hear every row equally often.
        """
        for _ in range(DRAWS):
            ahead: list[int] = []
            while len(ahead) < blocks:
                ahead += rng.sample(range(len(square)), len(square))
            ahead = [row - ahead[0] for row in ahead[:blocks]]
            if all(in_turn(rows_of(rater, ahead), rng) for rater in range(len(square))):
                break
        return ahead

    rounds = [drawn_round() for _ in range(0, raters, len(square))]

    def group(start: int) -> list[list[Trial]]:
        order = rng.sample(range(clips), clips)
        offsets = [value % clips for value in rng.sample(range(max(clips, conditions)), conditions)]
        found = []
        for rater in range(start, min(start + period, raters)):
            shift = (rater - start) * step
            rows = rows_of(rater, rounds[rater // len(square)])
            found.append([
                (order[(block + offsets[c] + shift) % clips], labels[c])
                for block, row in enumerate(in_turn(rows, rng) or rows)
                for c in row
            ])  # fmt: skip
        return found

    orders: list[list[Trial]] = []
    given: set[tuple[Trial, ...]] = set()

    def flaws(drawn: list[list[Trial]]) -> tuple[int, int]:
        return -len({tuple(order) for order in drawn} - given), repeats(drawn)

    while len(orders) < raters:
        best = min((group(len(orders)) for _ in range(DRAWS)), key=flaws)
        orders += best
        given |= set(map(tuple, orders))
    return orders


def in_turn(rows: list[list[int]], rng: random.Random) -> list[list[int]] | None:
    """Return the rows in random order, without a condition twice in succession; None if not found.

    The first row stays first, unless no such order was found with it.
    """
    for draw in range(2 * DRAWS):
        first = rows[:1] if draw < DRAWS else []
        drawn: list[list[int]] = []
        left = first + rng.sample(rows[len(first) :], len(rows) - len(first))
        while left:
            fits = (i for i, row in enumerate(left) if not drawn or row[0] != drawn[-1][-1])
            if (place := next(fits, None)) is None:
                break
            drawn.append(left.pop(place))
        if not left:
            return drawn
    return None


def repeats(orders: list[list[Trial]]) -> int:
    """Return how often a clip occurs twice in succession."""
    pairs = ((a, b) for order in orders for a, b in pairwise(order))
    return sum(a[0] == b[0] for a, b in pairs)


def insert_checks(order: list[str], checks: list[str], rng: random.Random) -> list[str]:
    """Return `order` with the checks inserted at random, one in each equal part, none first."""
    checks = rng.sample(checks, len(checks))
    out, last = [], 0
    for number, check in enumerate(checks):
        start, end = (len(order) * edge // len(checks) for edge in (number, number + 1))
        place = max(1, rng.randint(min(start + 1, end), end))
        out += [*order[last:place], check]
        last = place
    return out + order[last:]
