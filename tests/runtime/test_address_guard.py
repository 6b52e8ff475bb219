"""Which addresses may be connected to: the edges of every range, and each way of hiding one."""

from __future__ import annotations

import ipaddress
import socket
import threading

import pytest

from keras_to_lambda.runtime.common import deadline as deadline_module
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import DeadlineExceeded, FetchFailed
from keras_to_lambda.runtime.sources import address_guard

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


def connected(addresses, port=80, *, trusted=True):
    return address_guard.connect(
        "x", port, Deadline(60), trusted=trusted, resolve=lambda *_: addresses
    )


@pytest.mark.parametrize(
    ("text", "public"),
    [
        *((text, True) for text in PUBLIC),
        *((text, False) for text in HIDDEN),
        *(
            (block[at], False)
            for block in address_guard.REFUSED_V4 + address_guard.REFUSED_V6
            for at in (0, -1)
        ),
    ],
    ids=str,
)
def test_public_addresses_pass_and_the_ends_of_every_other_range_do_not(text, public):
    assert address_guard.is_public(ipaddress.ip_address(text)) is public


@pytest.mark.parametrize("block", address_guard.REFUSED_V4, ids=str)
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
        assert not address_guard.is_public(ipaddress.IPv6Address(embedded))


def test_one_private_address_among_public_ones_refuses_the_host():
    with pytest.raises(FetchFailed) as caught:
        connected(["93.184.216.34", "10.0.0.1"], trusted=False)
    assert caught.value.facts == {"reason": "an address of the host is not public"}


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "0"])
def test_spellings_of_loopback_are_refused_by_their_address(host):
    with pytest.raises(FetchFailed):
        address_guard.connect(host, 80, Deadline(60), trusted=False)


OWN = [
    ("169.254.169.254", 80), ("169.254.170.2", 80), ("169.254.100.1", 2000), ("169.254.0.0", 1),
    ("169.254.255.255", 1), ("::ffff:169.254.169.254", 80), ("fd00:ec2::254", 80),
    ("fd00:ec2::23", 80), ("fe80::a9fe:a9fe", 80), ("fe80::1%eth0", 80),
    ("127.0.0.1", 9001), ("127.1.2.3", 9001), ("::1", 9001), ("::ffff:127.0.0.1", 9001),
    ("0.0.0.0", 9001),
]  # fmt: skip


@pytest.mark.parametrize(("text", "port"), OWN)
def test_the_functions_own_addresses_are_never_fetched(text, port, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    with pytest.raises(FetchFailed) as caught:
        connected([text], port)
    assert caught.value.facts == {"reason": "an address of the host is the function's own"}


@pytest.mark.parametrize(("text", "port"), [("127.0.0.1", 9000), ("10.0.0.1", 9001)])
def test_another_private_address_may_be_trusted(text, port, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    assert not address_guard.is_own(text, port)
    monkeypatch.delenv("AWS_LAMBDA_RUNTIME_API")
    assert not address_guard.is_own("127.0.0.1", 9001)


def test_an_address_that_refuses_leaves_the_next_one(far_host):
    # The server listens on the second alone.
    with connected(["127.0.0.2", "127.0.0.1"], int(far_host.rpartition(":")[2])) as sock:
        assert sock.getpeername()[0] == "127.0.0.1"


def test_an_address_that_swallows_packets_leaves_time_for_the_next_one(far_host, monkeypatch):
    real, given = socket.create_connection, []

    def swallowing(address, timeout):
        given.append(timeout)
        if address[0] == "127.0.0.2":
            raise TimeoutError
        return real(address, timeout)

    monkeypatch.setattr(socket, "create_connection", swallowing)
    connected(["127.0.0.2", "127.0.0.1"], int(far_host.rpartition(":")[2])).close()
    assert given[0] <= 30
    with pytest.raises(DeadlineExceeded):
        connected(["127.0.0.2"])


def test_no_more_than_four_addresses_of_a_host_are_tried(monkeypatch):
    tried = []

    def refusing(address, timeout):
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refusing)
    with pytest.raises(FetchFailed):
        connected([f"1.1.1.{number}" for number in range(1, 30)], trusted=False)
    assert len(tried) == address_guard.MAX_TRIED


def test_look_ups_that_hang_cannot_fill_the_process_with_threads(monkeypatch):
    held = threading.Event()
    monkeypatch.setattr(deadline_module, "_calls", threading.BoundedSemaphore(3))
    monkeypatch.setattr(address_guard.socket, "getaddrinfo", lambda *_, **__: held.wait(60) or [])
    before = threading.active_count()
    for _ in range(10):
        with pytest.raises(DeadlineExceeded):
            address_guard.resolve("example.com", 80, Deadline(0.01))
    assert threading.active_count() - before <= 3
    held.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(0.2)
