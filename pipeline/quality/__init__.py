"""Every rule about data, and what people decided.

`bar_rules`, `event_rules` and `session_rules` look at one bar, one event, one session; `drift` at bars that were
rewritten; `findings` is the form in which all of them report; `decisions` what people answered.
"""
