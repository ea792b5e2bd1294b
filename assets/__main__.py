"""`python -m assets`: whether the schedules of the instance in DAGSTER_HOME are on; exit status 1 when they are not."""

import sys

import dagster as dg

from assets.automation import FRESHNESS, NIGHTLY, state
from assets.deployment import Deployment

with dg.DagsterInstance.get() as instance:
    on, words = state(instance, Deployment(), (NIGHTLY, FRESHNESS))
print(words)
sys.exit(0 if on else 1)
