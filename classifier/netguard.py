"""Which addresses may be connected to, and a connection pinned to the address that was checked.

A function that fetches any URL for anybody can be made to fetch from its own network (server-side
request forgery). So a name is resolved once, every address it has is judged, and the connection
goes to an address that was judged: a second look-up could be answered differently.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence

from classifier.deadline import Deadline
from classifier.errors import DeadlineExceeded, FetchFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's special-purpose address registries. `ipaddress.is_global` is not enough: it lets multicast
# pass, and knows only the ranges of the Python release that runs.
REFUSED_V4 = tuple(
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this host, on this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598)
        "127.0.0.0/8",  # loopback; on Lambda also the runtime API (RFC 1122)
        "169.254.0.0/16",  # link-local; on AWS metadata and credentials (RFC 3927)
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.31.196.0/24",  # AS112 (RFC 7535)
        "192.52.193.0/24",  # AMT (RFC 7450)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "192.175.48.0/24",  # AS112 (RFC 7534)
        "198.18.0.0/15",  # benchmarking (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved, and broadcast (RFC 1112)
    )
)
# In IPv6 only the global unicast space is let through (RFC 4291, 2.4), so that IPv4-mapped, NAT64
# (64:ff9b::/96, 64:ff9b:1::/48), unique local, link-local and multicast are all outside it ...
GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# ... and of that space not these, which lead elsewhere or hold an IPv4 address.
REFUSED_V6 = tuple(
    ipaddress.IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking (RFC 2928)
        "2001:db8::/32",  # documentation (RFC 3849)
        "2002::/16",  # 6to4 (RFC 3056)
        "2620:4f:8000::/48",  # AS112 (RFC 7534)
        "3fff::/20",  # documentation (RFC 9637)
    )
)
# Interface identifiers of ISATAP: 0000:5efe or 0200:5efe, then an IPv4 address (RFC 5214, 6.1).
ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet's, and leads nowhere else."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in REFUSED_V4)
    if address not in GLOBAL_V6 or any(address in block for block in REFUSED_V6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in ISATAP


def resolve(host: str, port: int, deadline: Deadline) -> Sequence[str]:
    """The addresses of a host, as text, by the system's resolver.

    Raises:
        FetchFailed: there are none.
        DeadlineExceeded: the resolver did not answer in time.
    """
    found: list[str] = []
    failed: list[Exception] = []

    def look_up() -> None:
        try:
            for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append(str(address[0]))
        except (OSError, UnicodeError) as error:
            failed.append(error)

    # getaddrinfo takes no time-out; a look-up that outlives its request ends by itself.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(deadline.remaining_s("looking up the image's host"))
    deadline.remaining_s("looking up the image's host")
    if failed or not found:
        raise FetchFailed("name look-up failed")
    return found


def connect(
    host: str,
    port: int,
    deadline: Deadline,
    *,
    trusted: bool,
    resolve: Callable[[str, int, Deadline], Sequence[str]] = resolve,
) -> socket.socket:
    """Connect to one of a host's addresses, after every one was judged.

    Args:
        host: name or address literal.
        trusted: the operator allows this host and port although it is not public.
        resolve: the resolver; a seam for tests.

    Raises:
        FetchFailed: an address is not public, or none accepts.
        DeadlineExceeded: it took too long.
    """
    addresses = resolve(host, port, deadline)
    if not trusted:
        for text in addresses:
            # A zone id ("fe80::1%eth0") is only ever on an address that is not public.
            if "%" in text or not is_public(ipaddress.ip_address(text)):
                raise FetchFailed("an address of the host is not public")
    for text in addresses:
        try:
            return socket.create_connection(
                (text, port), timeout=deadline.remaining_s("connecting to the image's host")
            )
        except TimeoutError as error:
            raise DeadlineExceeded("the image's host does not answer") from error
        except OSError:
            continue
    raise FetchFailed("connection refused")
