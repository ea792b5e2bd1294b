"""Closes and events -> returns and flags.

`total_return` is the definition and its arithmetic, `events` and `delistings` are what happens to a holder.
`panel` makes the returns of a roster (`roster`) over a range of sessions: `bars` lays out what is a price, `ordinary`
computes all cells at once, `single_cells`, `small_splits` and `delisting_returns` look at the few that need it. How a
single cell is judged is in `outliers` and `misdated`, on the values of `window`; `cells` says what is found.
"""
