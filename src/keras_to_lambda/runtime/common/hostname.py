"""Host names in the form that is looked up: ASCII, as browsers make it of any name.

Unicode names are mapped by UTS 46, non-transitional (https://www.unicode.org/reports/tr46/), which
keeps faß.de and fass.de apart; Python's own "idna" codec is IDNA 2003 and does not.
"""

from __future__ import annotations

import re

# After the mapping nothing else is left: no backslash, slash, @ or percent sign in disguise.
_NAME = re.compile(r"[a-z0-9._-]+")
MAX_CHARS = 253  # RFC 1035, 2.3.4, as text


def to_ascii(name: str) -> str:
    """A host name, or an IPv4 address, in lower-case ASCII.

    Raises ValueError: it is not a host name.
    """
    if len(name) > MAX_CHARS:
        raise ValueError("host name too long")
    if not name.isascii():
        import idna  # 10 ms, for non-ASCII names alone

        try:
            name = idna.encode(name, uts46=True, transitional=False, std3_rules=True).decode()
        except idna.IDNAError as error:  # a UnicodeError, whose text repeats the name
            raise ValueError("invalid internationalized host name") from error
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise ValueError("invalid host name")
    return name
