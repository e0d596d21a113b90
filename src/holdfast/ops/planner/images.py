"""Disk a conductor needs for the images it caches (I17-I26)."""

from __future__ import annotations

import math

from holdfast.ops.planner.answer import Figure, number
from holdfast.ops.planner.estate import Images

SPARE = 0.2
"""Free space beyond what is computed: a full file system serves nobody."""


def instance_images_cached(images: Images) -> tuple[bool, str]:
    """Whether instance images pass through the conductor's disk, and why."""
    if images.deploy_interface == "ramdisk":
        return False, "the ramdisk deploy interface writes no image: kernel and ramdisk are all"
    if images.source == "http":
        return True, "image_download_source = http: the conductor downloads and serves them (I20)"
    if images.source == "local":
        return True, "image_download_source = local: even http(s) URLs are cached (I22)"
    if images.source == "swift":
        return False, "image_download_source = swift: the node fetches a temporary URL (I21)"
    return False, "plain URLs go straight to the node (I23), which is what this release does"


def cache_gb(images: Images, deploys: int) -> Figure:
    """Disk for one conductor that may have ``deploys`` deployments in hand."""
    parts = [
        (
            images.ramdisks * images.ramdisk_gb,
            f"{images.ramdisks} deployment kernel and ramdisk × {number(images.ramdisk_gb)} GB, "
            "always cached (I19)",
        )
    ]
    cached, why = instance_images_cached(images)
    if cached:
        each = images.raw_gb if images.force_raw else images.image_gb
        form = "raw" if images.force_raw else "as downloaded"
        parts.append(
            (images.images * each, f"{images.images} images × {number(each)} GB {form}; {why}")
        )
        if images.force_raw:
            at_once = min(images.images, deploys)
            parts.append(
                (
                    at_once * images.image_gb,
                    f"{at_once} downloads × {number(images.image_gb)} GB while they are "
                    "converted, force_raw_images = True (I24)",
                )
            )
    else:
        parts.append((0.0, f"no instance image: {why}"))
    if images.boot_option == "netboot" or images.deploy_interface == "ramdisk":
        parts.append(
            (
                images.images * images.kernel_gb,
                f"{images.images} instance kernel and ramdisk × {number(images.kernel_gb)} GB, "
                "kept while an instance that boots from the network is active (I26)",
            )
        )
    needed = math.ceil(sum(part for part, _ in parts) * (1 + SPARE) * 10) / 10
    words = " + ".join(text for _, text in parts)
    return Figure(
        name="image_cache_gb",
        value=needed,
        unit="GB on each conductor's host",
        how=f"({words}) + {SPARE:.0%} to spare (I17, I18)",
    )
