"""How this deployment runs the pipeline: what only Dagster needs to know, from `ERM3_DAGSTER_*` variables.

Nothing here changes a published number; what does is in `pipeline.settings`.
"""

from __future__ import annotations

from datetime import time

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.settings import names

READ_BY_DAGSTER = ("ERM3_DAGSTER_POSTGRES",)
"""Variables that dagster.yaml names (deploy/postgres)."""


class Deployment(BaseSettings):
    """Frozen; read once when the definitions are loaded.

    nightly:         New York time at which the nightly run starts. After midnight, because a session's partition exists
                     once its day is over.
    catch_up:        most sessions that one nightly run publishes, the missed ones first.
    network_retries: how often a step is repeated after a failure of the network, with growing pauses; other failures
                     are never repeated.
    retry_seconds:   the first of these pauses; each one is twice the one before.
    schedules:       whether both schedules run without being switched on on the page.
    late_after:      New York time from which the session before counts as late when it is not published.
    owners:          e-mail addresses, or `team:NAME`, shown with every asset.
    alert_webhook:   address that gets a JSON document when a run fails. It may hold a secret and is never printed.
    alert_command:   command that gets the alert as text on its standard input: `mail -s ERM3 ops@example.com`.
    """

    model_config = SettingsConfigDict(
        env_prefix="ERM3_DAGSTER_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    nightly: time = time(0, 30)
    catch_up: int = Field(10, ge=1)
    network_retries: int = Field(5, ge=0)
    retry_seconds: float = Field(60.0, ge=0)
    schedules: bool = False
    late_after: time = time(6, 0)
    owners: tuple[str, ...] = ("team:erm3",)
    alert_webhook: SecretStr | None = None
    alert_command: str | None = None

    @property
    def alerts(self) -> bool:
        """Whether anybody is told of a failure."""
        return self.alert_webhook is not None or self.alert_command is not None


def read_deployment() -> Deployment:
    """From the environment. Raises WrongSettings, which names what is misspelt with the nearest name."""
    return names.read(Deployment, READ_BY_DAGSTER)


def cron(at: time) -> str:
    """Every day at this time. The schedules themselves say why there is nothing to do on some days."""
    return f"{at.minute} {at.hour} * * *"
