"""What a user has and wants: the planner's input for bare metal (I9-I13, I17, I18)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from holdfast.ops.planner.connections import POSTGRES_CONNECTIONS

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]

DeployInterface: TypeAlias = Literal["direct", "ramdisk"]
BootOption: TypeAlias = Literal["local", "netboot"]
ImageSource: TypeAlias = Literal["url", "http", "swift", "local"]


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """What is deployed, and by which way it reaches the machine (I17-I26). Sizes in GB."""

    deploy_interface: DeployInterface = "direct"
    boot_option: BootOption = "local"
    source: ImageSource = "url"
    """url: plain URLs (standalone); http, swift, local: ``image_download_source``."""
    force_raw: bool = True
    """``force_raw_images``: the conductor converts what it caches."""
    images: Count = 1
    """Distinct instance images in use."""
    image_gb: Positive = 2.0
    """One image as it is downloaded."""
    raw_gb: Positive = 10.0
    """One image as raw."""
    ramdisks: Count = 1
    """Distinct deployment kernel and ramdisk pairs: one per architecture."""
    ramdisk_gb: Positive = 0.5
    """One deployment kernel with its ramdisk."""
    kernel_gb: Positive = 0.1
    """An instance image's own kernel and ramdisk, for those booted from the network."""
    disk_free_gb: NotNegative | None = None
    """What each conductor's host has free."""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the deployment that bound what one process does."""

    pool_max: Count = 10
    """``database.pool_max``"""
    concurrent_deploys_max: Annotated[int, msgspec.Meta(ge=0)] = 250
    """``provisioning.concurrent_deploys_max``; 0: no limit"""
    looks_in_flight_max: Count = 500
    """``power_sync.in_flight_max``"""
    dead_timeout_s: Positive = 10.0
    """``power_sync.timeout_max_s``: how long a dead BMC is waited for."""
    dead_intervals: Count = 5
    """``power_sync.backoff_intervals_max``: a dead BMC is asked once in so many intervals."""
    gateway_looks_max: Count = 1000
    """``bmc.observations_max``"""


class Estate(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet, its machines' controllers, and the hosts that are to run Holdfast."""

    nodes: Count
    bmc_latency_ms: NotNegative = 50.0
    """Median time a BMC takes to answer one request (I10)."""
    dead_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """Share of BMCs that do not answer (I10)."""
    sync_interval_s: NotNegative = 60.0
    """``sync_power_state_interval`` (I11); 0: power states are not looked at."""
    driver: str = "redfish"
    """Hardware type (I12)."""
    network_mbit_s: Positive = 1000.0
    """Bandwidth of one conductor's or gateway's network (I12)."""
    concurrent_deploys: Count = 10
    """``max_concurrent_builds`` / ``max_concurrent_deploy`` (I13)."""
    deploy_s: Positive = 900.0
    """How long one deployment takes."""
    transfer_s: Positive = 300.0
    """How long the image of a deployment may take to go through a conductor, if it does."""
    api_requests_s: NotNegative = 20.0
    """Requests to the APIs in a busy second."""
    cores: Count = 4
    """Of one host (I9)."""
    speed: Positive = 1.0
    """Of one core, relative to the machine the costs were measured on (I9)."""
    load_max: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.6
    """How full a process or a link may be in the normal case."""
    zones: Count = 1
    """Availability zones (P17); the loss of one is to be survived."""
    connections_max: Count = POSTGRES_CONNECTIONS
    """``max_connections`` of the database."""
    images: Images = Images()
    tuning: Tuning = Tuning()
