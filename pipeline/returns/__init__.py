"""Closes and events -> returns and flags.

`panel` makes them for a roster over a range of sessions; `total_return` walks the events of a return, `outliers`
judges single cells, `delistings` says what a holder got at the end.
"""
