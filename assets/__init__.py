"""When: the thin Dagster layer over `pipeline.engine`. The only package that imports Dagster.

`inputs`, `stores`, `publication` and `reports` are the assets; `staging` ties a Dagster run to a staging run; `checks`,
`metadata`, `figures`, `tables` and `plots` are what the page shows; `people` has the jobs with a form (decisions,
restatements) and `outside` shows what other faces published; `schedules`, `freshness` and `alerts` run it every night,
`automation` knows whether they are on; `deployment` is what a deployment sets; `definitions` puts it together.
"""

from pipeline.outside.machine import tune_libraries

tune_libraries()
