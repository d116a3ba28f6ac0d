"""How browsers name this machine: itself, and from other devices."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from contextlib import suppress

EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# The system call for an interface's IPv4 address, and where in its answer that stands.
SIOCGIFADDR = {"linux": 0x8915, "darwin": 0xC0206921}
ANSWER = slice(20, 24)


def name_origins(host: str, port: int) -> tuple[str, ...]:
    """What browsers call http://host:port. The first works on this machine; for 0.0.0.0, those for other devices follow."""
    own = EVERY_ADDRESS.get(host, host)
    others = list_addresses() if host == "0.0.0.0" else ()
    return tuple(name_origin(each, port) for each in (own, *others))


def name_origin(host: str, port: int) -> str:
    """http://host:port, as a browser writes it."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}" + ("" if port == 80 else f":{port}")


def list_addresses() -> tuple[str, ...]:
    """The IPv4 addresses of this machine's network interfaces, without loopback; none where the system does not tell."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, suppress(KeyError):
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(asked, SIOCGIFADDR[sys.platform], struct.pack("256s", name.encode()))
                found.append(socket.inet_ntoa(answer[ANSWER]))
    return tuple(address for address in found if not address.startswith("127."))
