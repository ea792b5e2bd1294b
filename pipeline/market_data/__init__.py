"""Delivered rows under permanent ids, each with the first session that may use it.

`delivery` reads a source once and keeps what is made of it for all steps of a run, `cleaning` and `share_counts` leave
out what is told twice or in a wrong unit, `joining` finds whose a row is, `point_in_time` makes facts of all tables,
`gate` stops a run whose delivery is wrong as a whole.
"""
