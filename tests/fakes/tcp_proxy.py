"""A network between a client and a server that can fail: slow death, resets, and silence."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from types import TracebackType
from typing import Literal, Self

CHUNK_BYTES = 1 << 16
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST

Mode = Literal["pass", "hole", "reset"]


class TcpProxy:
    """Forwards a port of the loopback to another; use it in a `with` block.

    In mode `hole` connections stay open and nothing arrives; in mode `reset` they end at once.
    """

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.port = port
        self.target_port = target_port
        self._mode: Mode = "pass"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy")
        self._writers: set[asyncio.StreamWriter] = set()
        self._passing: asyncio.Event | None = None
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def behave(self, mode: Mode) -> None:
        """Change how the network is from now on, also for connections that are open."""
        asyncio.run_coroutine_threadsafe(self._behave(mode), self._loop).result(10)

    async def _behave(self, mode: Mode) -> None:
        assert self._passing is not None
        self._mode = mode
        if mode == "hole":
            self._passing.clear()
        else:
            self._passing.set()
        if mode == "reset":
            for writer in list(self._writers):
                _reset(writer)

    async def _start(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        own = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not own]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "reset":
            _reset(writer)
            return
        try:
            away, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(away, writer))
        finally:
            self._writers -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._passing is not None
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one side is gone, so the other goes too
        finally:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
