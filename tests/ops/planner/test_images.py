"""Disk for images: what a conductor caches depends on how the image reaches the machine."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.ops.planner.estate import Images
from holdfast.ops.planner.images import cache_gb

RAMDISK = 0.5 * 1.2  # always there, with a fifth to spare


def cache(deploys: int = 1, **given: Any) -> float:
    return cache_gb(Images(**given), deploys).value


def test_i19_the_deployment_kernel_and_ramdisk_are_always_cached():
    assert cache(source="url") == RAMDISK
    assert cache(source="url", ramdisks=2) == 2 * RAMDISK


@pytest.mark.parametrize("source", ["http", "local"])
def test_i20_i22_images_served_by_the_conductor_are_cached(source: str):
    assert cache(source=source, images=3, raw_gb=10) > 3 * 10


@pytest.mark.parametrize(("source", "item"), [("swift", "I21"), ("url", "I23")])
def test_i21_i23_images_that_go_straight_to_the_node_are_not(source: Any, item: str):
    figure = cache_gb(Images(source=source, images=50), 10)
    assert figure.value == RAMDISK
    assert item in figure.how


def test_i24_raw_images_take_the_space_of_raw_and_of_the_download_meanwhile():
    raw = cache(source="http", images=1, image_gb=2, raw_gb=10, deploys=1)
    assert raw == pytest.approx((0.5 + 10 + 2) * 1.2)
    plain = cache(source="http", images=1, image_gb=2, raw_gb=10, force_raw=False)
    assert plain == pytest.approx((0.5 + 2) * 1.2)


def test_i26_network_boot_keeps_each_images_kernel_and_ramdisk():
    assert cache(boot_option="netboot", images=10, kernel_gb=0.1) == pytest.approx(1.5 * 1.2)


def test_i18_the_space_depends_on_deploy_interface_and_boot_option():
    sizes = {
        cache(deploy_interface=deploy, boot_option=boot, source="http", images=4)
        for deploy, boot in (("direct", "local"), ("direct", "netboot"), ("ramdisk", "netboot"))
    }
    assert len(sizes) == 3
    assert cache(deploy_interface="ramdisk", source="http", images=4) < cache(
        source="http", images=4
    )
