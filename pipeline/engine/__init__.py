"""One run, from its start to its publication.

`execution` begins a run, stages and audits its stores one after the other, and publishes; `step_*` compute one store
each; `operations` are the long jobs (backfill, restatement); `verify` checks what is published.
"""
