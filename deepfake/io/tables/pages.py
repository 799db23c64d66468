"""What the pages of a Parquet file say of themselves, read without unpacking any.

Whoever unpacks a page goes by its header: a file's footer may say less.
"""

from dataclasses import dataclass, field
from typing import Any, BinaryIO

HEADER_BYTES = 2**10  # that are read at first
MOST_HEADER_BYTES = 2**20
MOST_PAGES = 2**18  # of a chunk; they have a megabyte each, or some thousand rows
DICTIONARY = {2, 8}  # of Parquet's encodings those that name values of a page of their own
DELTA = 7  # and the one that says of a text only what differs from the last
_DATA = (5, 8)  # fields of a page's header that hold the header of its data, by the version of the page


@dataclass
class Pages:
    """What the pages of one column chunk hold, added up."""

    size: int = 0  # bytes unpacked
    values: int = 0
    encodings: set[int | None] = field(default_factory=set)


def measure_pages(file: BinaryIO, start: int, length: int) -> Pages:
    """Add up the headers of the pages in so many bytes of a file; ``ValueError`` where there are none."""
    found, stop = Pages(), start + length
    for _ in range(MOST_PAGES):
        if start >= stop:
            return found
        header, size = read_header(file, start)
        data = header.get(_DATA[0], header.get(_DATA[1], {}))
        known = data if isinstance(data, dict) else {}
        encoding = known.get(2 if _DATA[0] in header else 4)
        told = (header.get(2), header.get(3), known.get(1, 0))
        numbers = [number for number in told if isinstance(number, int) and number >= 0]
        if len(numbers) < len(told) or not isinstance(encoding, int | None):
            raise ValueError(f"no page at byte {start}")
        found.size += numbers[0]
        found.values += numbers[2]
        found.encodings.add(encoding)
        start += size + numbers[1]
    raise ValueError(f"more than {MOST_PAGES} pages")


def read_header(file: BinaryIO, start: int) -> tuple[dict[int, Any], int]:
    """The header of the page at a byte, and its length."""
    length = HEADER_BYTES
    while length <= MOST_HEADER_BYTES:
        file.seek(start)
        compact = Compact(file.read(length))
        try:
            return compact.read_struct(), compact.at
        except IndexError:
            length *= 32
        except RecursionError:
            break
    raise ValueError(f"no page at byte {start}")


class Compact:
    """Thrift's compact protocol, as far as the headers of pages use it; ``IndexError`` at its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read_struct(self) -> dict[int, Any]:
        """Numbers, truths and structs by the fields' numbers; other kinds are None."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._read_byte():
            number = number + (head >> 4) if head >> 4 else self._read_number()
            fields[number] = self._read_value(head & 15)
        return fields

    def _read_value(self, kind: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self._read_number()
        if kind == 8:
            length = self._read_bits()
            self.at += length
        elif kind == 12:
            return self.read_struct()
        else:
            raise ValueError("the header of a page holds what none has")
        return None

    def _read_number(self) -> int:
        bits = self._read_bits()
        return (bits >> 1) ^ -(bits & 1)

    def _read_bits(self) -> int:
        bits = shift = 0
        while True:
            byte = self._read_byte()
            bits |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return bits
            if shift > 63:
                raise ValueError("the header of a page holds a number of more than 64 bits")

    def _read_byte(self) -> int:
        byte = self.data[self.at]
        self.at += 1
        return byte
