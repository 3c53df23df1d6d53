"""Records out of a damaged segment: every one whose bytes are whole, wherever it lies.

SQLite reads from the root of a tree downwards, so one bad page can hide thousands of good records
from it. This reads the leaf pages one by one, of the file and of its write-ahead log, and believes
what matches its checksum. Source: https://www.sqlite.org/fileformat2.html, sections 1.6, 2.1, 4.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

MAGIC = b"SQLite format 3\0"
PAGE_BYTES = 4096  # SQLite's default, which a segment has; used when its header is gone
LEAF_TYPE = 0x0D  # of a table: its cells are rows
LEAF_HEADER_BYTES = 8
LOG_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
COLUMNS = 6
INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # by serial type; 8 and 9 are 0 and 1
FLOAT_TYPE = 7

Value = int | float | bytes | str | None


class WholeRow(NamedTuple):
    """A record as a segment keeps it; `at` is when it came in, in seconds since 1970."""

    offset: int
    topic: str
    key: str
    value: bytes
    at: float
    checksum: int

    def is_intact(self) -> bool:
        """Return whether it is what was once written."""
        return checksum(self.offset, self.topic, self.key, self.value) == self.checksum


def checksum(offset: int, topic: str, key: str, value: bytes) -> int:
    """Return the CRC-32 of a record: SQLite itself does not notice a changed value."""
    return crc32(value, crc32(key.encode(), crc32(topic.encode(), offset & 0xFFFFFFFF)))


def carve(path: Path) -> dict[int, WholeRow]:
    """Return the intact records of a segment's file and write-ahead log, by offset.

    Takes memory for both.
    """
    image = _Image.of(path)
    # The newest version of a page has all that older ones had, but may be the damaged one
    versions = image.pages + [frame.page for frame in image.frames]
    return {row.offset: row for page in versions for row in _rows(page, image.chain)}


def logged_batches(path: Path) -> list[set[int]]:
    """Return the offsets that each whole transaction of the write-ahead log wrote or rewrote."""
    image = _Image.of(path)
    batches: list[set[int]] = [set()]
    for frame in image.frames:
        batches[-1] |= {row.offset for row in _rows(frame.page, image.chain)}
        if frame.commits:
            batches.append(set())
    return batches[:-1]


@dataclass(frozen=True, slots=True)
class _Frame:
    """A page in a write-ahead log; the last one of a transaction commits it."""

    number: int
    commits: bool
    salt: bytes
    page: bytes


@dataclass(frozen=True, slots=True)
class _Image:
    """All that a segment has on disk: the pages of its file and what was logged beyond them."""

    pages: list[bytes]
    frames: list[_Frame]
    chain: _Chain

    @classmethod
    def of(cls, path: Path) -> _Image:
        raw = path.read_bytes() if path.exists() else b""
        size = _page_bytes(raw)
        pages = [raw[at : at + size] for at in range(0, len(raw), size)]
        log = path.with_name(f"{path.name}-wal")
        frames = _frames(log.read_bytes(), size) if log.exists() else []
        by_number = dict(enumerate(pages, start=1)) | {f.number: f.page for f in frames}
        return cls(pages, frames, _Chain(by_number, size))


def _page_bytes(raw: bytes) -> int:
    size = int.from_bytes(raw[16:18], "big")
    sound = raw.startswith(MAGIC) and size >= 512 and size & (size - 1) == 0
    return size if sound else PAGE_BYTES


def _frames(log: bytes, page_bytes: int) -> list[_Frame]:
    """Return the pages in a write-ahead log, the newest last."""
    step = FRAME_HEADER_BYTES + page_bytes
    frames = [
        _Frame(
            number=int.from_bytes(log[at : at + 4], "big"),
            commits=any(log[at + 4 : at + 8]),
            salt=log[at + 8 : at + 16],
            page=log[at + FRAME_HEADER_BYTES : at + step],
        )
        for at in range(LOG_HEADER_BYTES, len(log) - step + 1, step)
    ]
    # SQLite writes a log again from its front, with another salt: what lies behind is old, and in
    # the file. With its header gone, the first page has the salt that is not old
    salts = [frame.salt for frame in frames]
    salt = log[16:24] if log[16:24] in salts else salts[0] if salts else b""
    return [frame for frame in frames if frame.salt == salt]


@dataclass(frozen=True, slots=True)
class _Chain:
    """The pages, of `size` bytes, in which the rest of a long row is found."""

    by_number: dict[int, bytes]
    size: int

    def read(self, number: int, length: int) -> bytes:
        """Return `length` bytes from page `number` on. Raises: KeyError where the chain breaks."""
        parts: list[bytes] = []
        while length > 0:
            page = self.by_number[number]
            parts.append(page[4 : 4 + min(length, self.size - 4)])
            number, length = int.from_bytes(page[:4], "big"), length - (self.size - 4)
        return b"".join(parts)


def _rows(page: bytes, chain: _Chain) -> Iterator[WholeRow]:
    """Yield the intact records of a page, if it is a leaf of the table."""
    if len(page) < LEAF_HEADER_BYTES or page[0] != LEAF_TYPE:
        return
    for number in range(int.from_bytes(page[3:5], "big")):
        at = LEAF_HEADER_BYTES + 2 * number
        try:
            row = _row(page, int.from_bytes(page[at : at + 2], "big"), chain)
        except (IndexError, KeyError, ValueError):  # what is not a record has any shape
            continue
        if row is not None and row.is_intact():
            yield row


def _row(page: bytes, at: int, chain: _Chain) -> WholeRow | None:
    """Return the row whose cell begins at `at`, or None if its columns are not a record's."""
    length, at = _varint(page, at)
    offset, at = _varint(page, at)
    local = _local_bytes(length, chain.size)
    payload = page[at : at + local]
    if local < length:
        first = int.from_bytes(page[at + local : at + local + 4], "big")
        payload += chain.read(first, length - local)
    match _columns(payload):
        case [None, str(topic), str(key), bytes(value), float() | int() as when, int(check)]:
            return WholeRow(offset, topic, key, value, float(when), check)
        case _:
            return None


def _local_bytes(length: int, page_bytes: int) -> int:
    """Return how much of a row is in its leaf page; the rest is in a chain of others."""
    most = page_bytes - 35
    if length <= most:
        return length
    least = (page_bytes - 12) * 32 // 255 - 23
    wanted = least + (length - least) % (page_bytes - 4)
    return wanted if wanted <= most else least


def _columns(payload: bytes) -> list[Value]:
    header_bytes, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < header_bytes and len(kinds) < COLUMNS:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Value] = []
    at = header_bytes
    for kind in kinds:
        value, at = _column(payload, at, kind)
        values.append(value)
    return values


def _column(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    """Return a value and where the next one begins. Raises: ValueError for what is none."""
    if kind in {0, 8, 9}:
        return {0: None, 8: 0, 9: 1}[kind], at
    if kind in {10, 11}:
        raise ValueError("reserved by SQLite")
    size = (kind - 12) // 2 if kind >= 12 else INTEGER_BYTES.get(kind, 8)
    raw, after = payload[at : at + size], at + size
    if len(raw) < size:
        raise ValueError("cut off")
    if kind >= 12:
        return (raw.decode() if kind % 2 else raw), after
    if kind == FLOAT_TYPE:
        return struct.unpack(">d", raw)[0], after
    return int.from_bytes(raw, "big", signed=True), after


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer and where it ends."""
    value = 0
    for number in range(8):
        byte = raw[at + number]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + number + 1
    return value << 8 | raw[at + 8], at + 9
