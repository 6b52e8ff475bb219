"""Which addresses may be connected to: the edges of every range, and each way of hiding one."""

from __future__ import annotations

import ipaddress
import time

import pytest

from classifier import netguard
from classifier.deadline import Deadline
from classifier.errors import DeadlineExceeded, FetchFailed

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255",
    "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
    "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001:830::200e", "2001:200::1",
]  # fmt: skip
HIDDEN = [
    "::1", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2a00:1450:4001:830:0:5efe:127.0.0.1", "2a00:1450:4001:830:200:5efe:10.0.0.1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "ff02::1", "2001:db8::1", "3fff::1", "2001:20::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_passes(text):
    assert netguard.is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", HIDDEN)
def test_an_ipv6_address_that_leads_elsewhere_is_refused(text):
    assert not netguard.is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("block", netguard.REFUSED_V4 + netguard.REFUSED_V6, ids=str)
def test_first_and_last_address_of_every_range_are_refused(block):
    assert not netguard.is_public(block[0])
    assert not netguard.is_public(block[-1])


@pytest.mark.parametrize("block", netguard.REFUSED_V4, ids=str)
def test_every_embedding_of_a_refused_ipv4_address_is_refused(block):
    number = int(block[0])
    embeddings = [
        number,
        (0xFFFF << 32) | number,
        (0x64FF9B << 96) | number,
        (0x64FF9B0001 << 80) | number,
        (0x2002 << 112) | (number << 80),
        (0x20010000 << 96) | (number ^ 0xFFFFFFFF),
        (0x2A001450 << 96) | (0x5EFE << 32) | number,
    ]
    for embedded in embeddings:
        assert not netguard.is_public(ipaddress.IPv6Address(embedded))


def test_one_private_address_among_public_ones_refuses_the_host():
    with pytest.raises(FetchFailed) as caught:
        netguard.connect(
            "example.com", 80, Deadline(1), trusted=False,
            resolve=lambda *_: ["93.184.216.34", "10.0.0.1"],
        )  # fmt: skip
    assert caught.value.facts == {"reason": "an address of the host is not public"}


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "0"])
def test_spellings_of_loopback_are_refused_by_their_address(host):
    with pytest.raises(FetchFailed):
        netguard.connect(host, 80, Deadline(2), trusted=False)


def test_a_look_up_that_hangs_ends_at_the_deadline(monkeypatch):
    monkeypatch.setattr(netguard.socket, "getaddrinfo", lambda *_, **__: time.sleep(0.5) or [])
    with pytest.raises(DeadlineExceeded):
        netguard.resolve("example.com", 80, Deadline(0.05))
