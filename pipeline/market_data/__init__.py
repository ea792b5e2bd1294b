"""Delivered rows under permanent ids, each with the first session that may use it.

`delivery` reads a source once and keeps what is made of it for all steps of a run, `cleaning` and `share_counts` leave
out what is told twice or in a wrong unit, `point_in_time` joins the rows to the security master, `gate` stops a run
whose delivery is wrong as a whole.
"""
