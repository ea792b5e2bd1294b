"""`python -m assets`: whether the schedules of the instance in DAGSTER_HOME are on; exit status 1 when they are not."""

import sys

import dagster as dg

from assets.automation import FRESHNESS, NIGHTLY, state
from assets.deployment import read_deployment
from pipeline.settings.names import WrongSettings

try:
    deployment = read_deployment()
except WrongSettings as error:
    sys.exit(str(error))
with dg.DagsterInstance.get() as instance:
    on, words = state(instance, deployment, (NIGHTLY, FRESHNESS))
print(words)
sys.exit(0 if on else 1)
