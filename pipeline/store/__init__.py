"""Storing and publishing: the only place that writes stores.

A run stages what it writes beside what readers see (`stage`), is audited there, and is published as a whole
(`promote`). `filesystem` knows local disks and buckets, `lease` lets one run write at a time, `guards` say what a
publication may never do, `publications`, `manifest` and `seal` what has been published, `integrity` and `repair`
whether it is still whole and how it becomes whole again.
"""
