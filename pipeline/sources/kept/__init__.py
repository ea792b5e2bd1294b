"""Bars of delivered files, kept parsed between runs: a night reads the last ones, and of the others what is asked for.

    kept/CODE/DIGEST.bars    what the files with these bytes say, typed and checked by this code

A delivered file is known by its bytes: unchanged, it is not parsed again. `file` is how bars are kept, so that a part
of them can be read and nothing damaged is believed; `parts` makes them of delivered files; `earlier` answers for those
that a night does not read. It is a cache of this machine and may be removed at any time: what is missing, damaged or of
other code is made again. Parts whose dates overlap are kept together, and a fault or a bar that is told twice is read
whole, as a backfill does.
"""
