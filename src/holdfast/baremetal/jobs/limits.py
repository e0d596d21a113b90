"""How many jobs of a kind one conductor has under way at a time; more wait in order.

Ironic refuses what is beyond ``max_concurrent_deploy``; here it waits its turn.
"""

from __future__ import annotations

from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.baremetal.states import JobKind
from holdfast.store.model import JobLimit

UNLIMITED = 2**31 - 1
CLEANING = (JobKind.PROVIDE, JobKind.UNDEPLOY, JobKind.CLEAN)


def job_limits(settings: ProvisioningSettings) -> tuple[JobLimit, ...]:
    """The limits of provisioning. All kinds are named always: see ``JobStore.acquire``."""
    return (
        _limit("deployment", settings.concurrent_deploys_max, JobKind.DEPLOY),
        _limit("cleaning", settings.concurrent_cleans_max, *CLEANING),
    )


def _limit(what: str, most: int, *kinds: JobKind) -> JobLimit:
    return JobLimit(
        what=what, kinds=tuple(kind.value for kind in kinds), running_max=most or UNLIMITED
    )
