"""One security's raw closes and events from its true total returns."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

DIVIDEND_LEAD = 10
"""Sessions between the declaration of a dividend and its ex-date."""
SPLIT_LEAD = 15
SPLIT_PAUSE = 60

FORWARD = np.array([[3, 2], [2, 1], [3, 1], [4, 1], [5, 1], [7, 1], [10, 1], [20, 1]], dtype=np.int64)
REVERSE = np.array([[1, 5], [1, 8], [1, 10], [1, 15], [1, 20], [1, 25], [1, 30], [1, 50]], dtype=np.int64)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Path:
    """What happened to one security, per session of its life.

    close: exact price at the close, in dollars, before rounding to a tick. new, old: split ratio with this ex-date, 1
    and 1 for none. decided: for a split, the index of the session that announced it, else -1. regular, special: cash
    per share after the split of that day, in the currency of payment. spun_off: dollars per share that left with a
    spin-off. shares: what one share of the first session has become.
    """

    close: Array
    new: NDArray[np.int64]
    old: NDArray[np.int64]
    decided: NDArray[np.int64]
    regular: Array
    special: Array
    spun_off: Array
    shares: Array


def walk(
    returns: Array,
    start_price: float,
    *,
    quarterly: NDArray[np.bool_],
    quarterly_yield: float,
    special: Array,
    spun_off: Array,
    fx: Array,
    planned: dict[int, tuple[int, int]],
    split_above: float,
    split_to: float,
    last_split: int,
) -> Path:
    """Lay events along true total returns.

    returns:   (T,) true total returns; the first is not used, the first close is `start_price`.
    quarterly: (T,) ex-dates of the regular dividend, whose amount is set anew with every fourth payment.
    special:   (T,) special dividend as a share of the price at its declaration, 0 for none.
    spun_off:  (T,) share of the value that leaves with a spin-off on this day, 0 for none.
    fx:        (T,) dollars per unit of the currency of the dividends.
    planned:   ex-date (index) -> (new, old) of splits that come whatever the price.

    A price above `split_above` leads to a split towards `split_to`, one below 1 dollar to a reverse split, with
    ex-date no later than index `last_split`.
    """
    T = len(returns)
    new, old, decided = np.ones(T, np.int64), np.ones(T, np.int64), np.full(T, -1, np.int64)
    for ex, ratio in planned.items():
        if 0 < ex < T:
            new[ex], old[ex] = ratio
            decided[ex] = max(ex - SPLIT_LEAD, 0)
    close, regular, extra, left, shares = _walk(
        returns, start_price, quarterly, quarterly_yield, special, spun_off, fx, new, old, decided,
        split_above, split_to, last_split,
    )  # fmt: skip
    return Path(close, new, old, decided, regular, extra, left, shares)


@numba.njit(cache=True)
def _walk(  # type: ignore[no-untyped-def]
    returns, start_price, quarterly, rate, special, spun_off, fx, new, old, decided, split_above, split_to, last_split
):
    """The session-by-session part of `walk`; adds the splits that the price brings to new, old and decided."""
    T = len(returns)
    close, shares = np.empty(T), np.ones(T)
    regular, extra, left = np.zeros(T), np.zeros(T), np.zeros(T)
    price, held, amount = start_price, 1.0, 0.0
    payments, next_split = 0, 0
    close[0] = price
    for t in range(1, T):
        price *= 1.0 + returns[t]
        ratio = new[t] / old[t]
        price /= ratio
        held *= ratio
        amount /= ratio
        left[t] = price * spun_off[t]
        price -= left[t]
        if t >= DIVIDEND_LEAD:
            declared_at = close[t - DIVIDEND_LEAD] * shares[t - DIVIDEND_LEAD] / held
            cash = 0.0
            if quarterly[t] and rate > 0.0:
                if payments % 4 == 0:
                    amount = rate * declared_at / fx[t - DIVIDEND_LEAD]
                payments += 1
                regular[t] = _cents(amount)
                cash += regular[t] * fx[t]
            if special[t] > 0.0:
                extra[t] = _cents(special[t] * declared_at / fx[t - DIVIDEND_LEAD])
                cash += extra[t] * fx[t]
            if cash > 0.6 * price:  # after a collapse nothing is left to pay from
                regular[t] = extra[t] = cash = 0.0
            price -= cash
        close[t], shares[t] = price, held
        ex = t + SPLIT_LEAD
        if t >= next_split and ex <= last_split and ex < T and spun_off[ex] == 0.0 and decided[ex] < 0:
            if price > split_above:
                pick = _nearest(FORWARD, price / split_to)
                new[ex], old[ex] = FORWARD[pick, 0], FORWARD[pick, 1]
            elif price < 1.0:
                pick = _nearest(REVERSE, price / 8.0)
                new[ex], old[ex] = REVERSE[pick, 0], REVERSE[pick, 1]
            if new[ex] != old[ex]:
                decided[ex] = t
                next_split = ex + SPLIT_PAUSE
    return close, regular, extra, left, shares


@numba.njit(cache=True)
def _cents(amount):  # type: ignore[no-untyped-def]
    """Round to cents, small amounts to hundredths of a cent."""
    return np.round(amount, 2) if amount >= 0.05 else np.round(amount, 4)


@numba.njit(cache=True)
def _nearest(ratios, wanted):  # type: ignore[no-untyped-def]
    """Row of the ratio that is nearest to the wanted one on a log scale."""
    best, pick = np.inf, 0
    for k in range(len(ratios)):
        distance = abs(np.log(ratios[k, 0] / ratios[k, 1]) - np.log(wanted))
        if distance < best:
            best, pick = distance, k
    return pick


def to_tick(prices: Array) -> Array:
    """Prices as quoted: cents, and hundredths of a cent below one dollar."""
    return np.where(prices < 1.0, np.maximum(np.round(prices, 4), 0.0001), np.round(prices, 2))
