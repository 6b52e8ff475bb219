"""Which addresses may be connected to, and a connection pinned to the address that was checked.

A function that fetches any URL can be made to fetch from its own network (server-side request
forgery). So a name is resolved once, every address it has is judged, and the connection
goes to an address that was judged: a second look-up could be answered differently.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping, Sequence

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import DeadlineExceeded, FetchFailed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# IANA's special-purpose address registries. `ipaddress.is_global` is not enough: it lets multicast
# pass, and has only the ranges of the Python release that runs.
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
# What gives out credentials: link-local (instance metadata 169.254.169.254, containers' credentials
# 169.254.170.2, Lambda's own services), and the same in IPv6
# (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html).
CREDENTIALS = (
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv6Network("fe80::/10"),
    ipaddress.IPv6Network("fd00:ec2::/32"),
)
MAX_TRIED = 4  # addresses of one host
# Interface identifiers of ISATAP: 0000:5efe or 0200:5efe, then an IPv4 address (RFC 5214, 6.1).
ISATAP = (0x00005EFE, 0x02005EFE)


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet's, and leads nowhere else."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in block for block in REFUSED_V4)
    if address not in GLOBAL_V6 or any(address in block for block in REFUSED_V6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in ISATAP


def is_own(text: str, port: int, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether an address is the function's own runtime's, or gives out its credentials.

    These are never fetched, not even where a private host is trusted: the runtime API
    hands over other callers' events, the metadata addresses the role's credentials.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    if any(mapped in block for block in CREDENTIALS if block.version == mapped.version):
        return True
    api_host, _, api_port = environ.get("AWS_LAMBDA_RUNTIME_API", "").rpartition(":")
    if not api_port.isdecimal() or int(api_port) != port:
        return False
    # On any of this machine's own addresses.
    return mapped.is_loopback or mapped.is_unspecified or str(mapped) == api_host


def resolve(host: str, port: int, deadline: Deadline) -> Sequence[str]:
    """The addresses of a host, as text, by the system's resolver.

    Raises FetchFailed: there are none; DeadlineExceeded: the resolver did not answer in time.
    """
    try:
        # getaddrinfo takes no time-out.
        found = deadline.call(
            "looking up the image's host",
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
        )
    except (OSError, UnicodeError) as error:
        raise FetchFailed("name look-up failed") from error
    if not found:
        raise FetchFailed("name look-up failed")
    return [str(address[0]) for *_, address in found]


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
        trusted: the operator allows this host and port although it is not public.

    Raises FetchFailed: an address is not public, or none accepts; DeadlineExceeded: it took too
    long.
    """
    addresses = resolve(host, port, deadline)
    for text in addresses:
        # A zone id ("fe80::1%eth0") is only ever on an address that is not public.
        if not trusted and ("%" in text or not is_public(ipaddress.ip_address(text))):
            raise FetchFailed("an address of the host is not public")
        if is_own(text, port):
            raise FetchFailed("an address of the host is the function's own")
    slow = False
    for index, text in enumerate(addresses := addresses[:MAX_TRIED]):
        left = deadline.remaining_s("connecting to the image's host")
        try:
            # A share for each: one address that swallows packets leaves time for the others.
            return socket.create_connection((text, port), timeout=left / (len(addresses) - index))
        except TimeoutError:
            slow = True
        except OSError:
            continue
    if slow:
        raise DeadlineExceeded("the image's host does not answer")
    raise FetchFailed("connection refused")
