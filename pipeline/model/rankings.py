"""Returns compounded over trailing windows, and ranks within cohorts.

Rows are sessions here, (T, n), as in `effectiveness`. A product over a window is taken without division ("two-stack",
as in `rolling_sums`): it depends on the rows of its window and on the ordinal alone, so that a nightly run gives the
bits, and so the ranks, of a backfill.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.model.compiled import (
    Codes,
    Codes1D,
    Codes3D,
    Floats,
    Floats1D,
    Floats2D,
    Ints,
    Ints1D,
    Ints2D,
    Singles,
    Singles1D,
    Singles2D,
    Singles3D,
    as_input,
    check_out,
    inlined,
    kernel,
)
from pipeline.model.rolling_sums import ABSURD


@kernel
def _compound(
    r: Floats2D, window: int, least: int, phase: int, suffix: Floats2D, prefix: Floats1D, have: Ints1D, out: Floats2D
) -> None:
    """suffix: (window, n), its row p the product from position p of the last whole block on; have: returns so far."""
    rows, n = r.shape
    have[:] = 0
    for t in range(rows):
        p = (t + phase) % window
        for i in range(n):
            ok = abs(r[t, i]) < ABSURD
            have[i] += 1 if ok else 0
            prefix[i] = (prefix[i] if p > 0 and t > 0 else 1.0) * ((1.0 + r[t, i]) if ok else 1.0)
        if t >= window - 1:
            j = t - window + 1
            for i in range(n):
                whole = prefix[i] if p == window - 1 else suffix[p + 1, i] * prefix[i]
                out[j, i] = whole - 1.0 if have[i] >= least else np.nan
                have[i] -= 1 if abs(r[j, i]) < ABSURD else 0
        if p == window - 1:
            for q in range(window - 1, max(window - 1 - t, 0) - 1, -1):
                at = t - (window - 1 - q)
                for i in range(n):
                    factor = 1.0 + r[at, i] if abs(r[at, i]) < ABSURD else 1.0
                    suffix[q, i] = factor * (suffix[q + 1, i] if q < window - 1 else 1.0)


def compounded(r: Floats, window: int, least: int, first: int) -> Floats:
    """prod(1 + r) - 1 over the windows that end at the sessions from the ordinal `first` on, (T, n).

    r: (window - 1 + T, n) returns, the row window - 1 being the session `first`. Missing returns are left out; NaN
    where a window has fewer than `least`.

    >>> compounded(np.array([[0.1], [0.1], [np.nan], [-0.5]]), window=2, least=1, first=7).round(2).T
    array([[ 0.21,  0.1 , -0.5 ]])
    """
    r = as_input(r, np.float64)
    rows, n = r.shape
    if rows < window:
        raise ValueError(f"r is (window - 1 + T, n) with window = {window}; found {r.shape}")
    out = np.empty((rows - window + 1, n))
    have = np.zeros(n, np.int64)
    _compound(r, window, least, (first + 1) % window, np.empty((window, n)), np.empty(n), have, out)
    return out


DIGIT = 11
"""Bits of a digit of the radix sort: six of them make a key, and the counts of one fit the first-level cache."""
DIGITS = -(-64 // DIGIT)
SIGN = -(2**63)
FEW = 8
"""Where fewer than one in so many keys begins as its neighbour does, the lower digits are put right by hand."""


class Sorting(NamedTuple):
    """Work of one session: keys and stocks, twice since each pass moves them, and where the keys of a digit go."""

    keys: Ints1D
    stocks: Ints1D
    moved_keys: Ints1D
    moved_stocks: Ints1D
    places: Ints1D


class Counting(NamedTuple):
    """Work of one kind of cohort, by code: stocks so far, and among equal ones the first one's rank and key."""

    ranked: Ints1D
    first: Ints1D
    key: Ints1D


@inlined
def _keys(values: Floats1D, bits: Ints1D, keys: Ints1D, stocks: Ints1D) -> int:
    """Who has a value, with keys that, as unsigned integers, are in the order of falling values; how many they are.

    Equal values have equal keys, 0 and -0 too. The bits of a positive number rise with it, those of a negative one
    with its size.
    """
    found = 0
    for i in range(values.size):
        if not np.isnan(values[i]):
            keys[found] = bits[i] if values[i] < 0.0 else (bits[i] & ~SIGN) ^ ~SIGN
            stocks[found] = i
            found += 1
    return found


@inlined
def _sorted(work: Sorting, found: int) -> tuple[Ints1D, Ints1D]:
    """Keys and stocks in order: a stable pass for each of the upper digits, from the lowest of them, and for all six
    digits where many keys differ below. In the highest digit >> repeats the sign, which leaves its order as it is."""
    keys, stocks, moved_keys, moved_stocks = work.keys, work.stocks, work.moved_keys, work.moved_stocks
    places, mask = work.places, 2**DIGIT - 1
    lowest = DIGITS // 2
    while True:
        for digit in range(lowest, DIGITS):
            shift = DIGIT * digit
            places[:] = 0
            for k in range(found):
                places[(keys[k] >> shift) & mask] += 1
            before = 0
            for value in range(places.size):
                here = places[value]
                places[value] = before
                before += here
            for k in range(found):
                value = (keys[k] >> shift) & mask
                to = places[value]
                places[value] = to + 1
                moved_keys[to], moved_stocks[to] = keys[k], stocks[k]
            keys, stocks, moved_keys, moved_stocks = moved_keys, moved_stocks, keys, stocks
        near = 0
        for k in range(1, found):
            same = (keys[k] ^ keys[k - 1]) >> (DIGIT * lowest) == 0
            near += 1 if same and keys[k] != keys[k - 1] else 0
        if lowest == 0 or near * FEW <= found:
            break
        lowest = 0
    for k in range(1, found if near > 0 else 0):
        key, stock, to = keys[k], stocks[k], k
        while to > 0 and keys[to - 1] ^ SIGN > key ^ SIGN:
            keys[to], stocks[to] = keys[to - 1], stocks[to - 1]
            to -= 1
        keys[to], stocks[to] = key, stock
    return keys, stocks


@inlined
def _share(keys: Ints1D, stocks: Ints1D, found: int, codes: Codes1D, counting: Counting, ranked: Singles1D) -> None:
    """Gives the stocks of a cohort that have equal keys the smallest of their ranks."""
    first, key = counting.first, counting.key
    first[:] = 0
    for k in range(1, found):
        if keys[k] == keys[k - 1]:
            for i in (stocks[k - 1], stocks[k]):
                code = codes[i]
                if first[code] == 0 or key[code] != keys[k]:
                    first[code], key[code] = int(ranked[i]) if code > 0 else 1, keys[k]
                elif code > 0:
                    ranked[i] = first[code]


@kernel
def _rank(
    values: Floats2D,
    bits: Ints2D,
    cohorts: Codes3D,
    sorting: Sorting,
    counting: Counting,
    rank: Singles3D,
    size: Singles3D,
) -> None:
    """bits: those of `values`. A session is sorted once, and counted off for each kind of cohort."""
    so_far = counting.ranked
    for t in range(values.shape[0]):
        found = _keys(values[t], bits[t], sorting.keys, sorting.stocks)
        keys, stocks = _sorted(sorting, found)
        for c in range(cohorts.shape[0]):
            codes, ranked, sizes = cohorts[c, t], rank[c, t], size[c, t]
            ranked[:] = np.nan
            sizes[:] = np.nan
            so_far[:] = 0
            for k in range(found):
                i = stocks[k]
                so_far[codes[i]] += 1
                ranked[i] = so_far[codes[i]] if codes[i] > 0 else np.nan
            for k in range(found):
                i = stocks[k]
                sizes[i] = so_far[codes[i]] if codes[i] > 0 else np.nan
            _share(keys, stocks, found, codes, counting, ranked)


def ranks(values: Floats, cohorts: Codes) -> tuple[Singles, Singles]:
    """Rank of each stock in its cohort, and how many the cohort has; (cohorts, T, n) float32 each.

    values: (T, n), NaN for who is not ranked. cohorts: (cohorts, T, n) int16, who has one code is one cohort; 0 for
    none. Rank 1 is the largest value, equal ones share the smallest rank.

    >>> rank, size = ranks(np.array([[3.0, 5.0, 3.0, np.nan]]), np.array([[[1, 1, 1, 1]], [[2, 2, 0, 7]]], np.int16))
    >>> rank[:, 0].tolist(), size[:, 0].tolist()
    ([[2.0, 1.0, 2.0, nan], [2.0, 1.0, nan, nan]], [[3.0, 3.0, 3.0, nan], [2.0, 2.0, nan, nan]])
    """
    values, cohorts = as_input(values, np.float64), as_input(cohorts, np.int16)
    if cohorts.shape[1:] != values.shape:
        raise ValueError(f"cohorts is (cohorts, T, n) with the (T, n) of values, {values.shape}; found {cohorts.shape}")
    codes, n = int(cohorts.max(initial=0)) + 1, values.shape[1]
    keys, stocks, moved_keys, moved_stocks = np.empty((4, n), np.int64)
    sorting = Sorting(keys, stocks, moved_keys, moved_stocks, np.empty(2**DIGIT, np.int64))
    so_far, first, key = np.empty((3, codes), np.int64)
    rank, size = np.empty(cohorts.shape, np.float32), np.empty(cohorts.shape, np.float32)
    _rank(values, values.view(np.int64), cohorts, sorting, Counting(so_far, first, key), rank, size)
    return rank, size


@kernel
def _spread(values: Singles2D, columns: Ints1D, out: Singles2D) -> None:
    for t in range(values.shape[0]):
        row, mine = out[t], values[t]
        row[:] = np.nan
        for k in range(columns.size):
            row[columns[k]] = mine[k]


def spread(values: Singles, columns: Ints, out: Singles) -> Singles:
    """`out`, (T, N) float32, with `values`, (T, n), at these of its columns and NaN elsewhere.

    >>> spread(np.array([[1.0, 2.0]], np.float32), np.array([2, 0]), np.empty((1, 3), np.float32))
    array([[ 2., nan,  1.]], dtype=float32)
    """
    values, columns = as_input(values, np.float32), as_input(columns, np.int64)
    check_out(out, (len(values), out.shape[-1]), np.float32)
    if columns.shape != values.shape[1:] or ((columns < 0) | (columns >= out.shape[1])).any():
        raise ValueError(f"columns are (n,) positions on out, {out.shape}, for values {values.shape}; found {columns}")
    _spread(values, columns, out)
    return out
