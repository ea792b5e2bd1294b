"""Is anything switched on? Dagster keeps schedules off until a person, or the deployment, switches them on."""

from __future__ import annotations

import dagster as dg

from assets.deployment import Deployment

NIGHTLY = "nightly"
FRESHNESS = "freshness"
SWITCH = "switch it on under Automation on the page, or set ERM3_DAGSTER_SCHEDULES=true and restart"
SCHEDULER = "SCHEDULER"


def is_on(instance: dg.DagsterInstance, deployment: Deployment, name: str) -> bool:
    """Whether a schedule is on: as a person left it on the page, else as the deployment says."""
    states = instance.all_instigator_state() if instance.schedule_storage else []  # one in memory has none
    ours = [one for one in states if one.instigator_name == name and one.instigator_type.value == "SCHEDULE"]
    said = [one.status.value for one in ours]
    return "RUNNING" in said or (deployment.schedules and "STOPPED" not in said)


def default_status(deployment: Deployment) -> dg.DefaultScheduleStatus:
    """What a schedule is until somebody decides on the page."""
    return dg.DefaultScheduleStatus.RUNNING if deployment.schedules else dg.DefaultScheduleStatus.STOPPED


def state(instance: dg.DagsterInstance, deployment: Deployment, names: tuple[str, ...]) -> tuple[bool, str]:
    """Whether all schedules are on and somebody starts them; in words."""
    off = [name for name in names if not is_on(instance, deployment, name)]
    if off:
        return False, f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: {SWITCH}"
    daemon = instance.get_daemon_statuses().get(SCHEDULER)
    if daemon is None or not daemon.healthy:
        return False, f"{' and '.join(names)} are on and no daemon starts them: run dagster-daemon (docs/operations.md)"
    return True, f"{' and '.join(names)} are on, and the daemon lives"
