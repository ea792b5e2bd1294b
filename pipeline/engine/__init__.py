"""One run, from its start to its publication.

`execution` begins a run, stages and audits its stores, and publishes; `products` declare the stores and compute them,
one file each; `operations` are the long jobs (backfill, restatement); `verify` checks what is published.
"""
