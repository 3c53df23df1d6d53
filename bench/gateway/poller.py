"""Which sockets are ready, with time-outs finer than a millisecond.

The event loop of mock engine and load generator, which must cost far less than what they
measure: asyncio and uvloop take several times as long for a request, and sleep for whole
milliseconds. Linux only, as vLLM is.
"""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass, field


@dataclass
class Poller:
    """Sockets that are read, by number."""

    _epoll: select.epoll = field(default_factory=select.epoll)

    def add(self, connection: socket.socket) -> None:
        """Watch a socket for something to read."""
        self._epoll.register(connection, select.EPOLLIN)

    def remove(self, connection: socket.socket) -> None:
        """Watch it no longer."""
        self._epoll.unregister(connection)

    def ready(self, timeout_s: float) -> list[int]:
        """Return the numbers of the sockets that can be read, at the latest after `timeout_s`.

        `select` on top of `epoll` because epoll's own time-out is rounded up to milliseconds.
        """
        events = self._epoll.poll(0)
        if not events and timeout_s > 0.0:
            select.select([self._epoll], [], [], timeout_s)
            events = self._epoll.poll(0)
        return [number for number, _ in events]


def connected(host: str, port: int) -> socket.socket:
    """Return a connection that neither blocks nor waits to fill packets."""
    connection = socket.create_connection((host, port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection
