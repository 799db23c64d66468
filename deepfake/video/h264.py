"""Whether decoding an H.264 stream can start at a packet (ITU-T H.264, 7.3.1, 7.3.2.3 and D.2.8).

Containers also call those pictures key frames from which a picture is whole only some frames later
(periodic intra refresh). A decoder that starts there gives frames that are not those of the full decode.
"""

import re
from collections.abc import Iterator

_IDR_SLICE, _SEI = 5, 6  # types of NAL units
_RECOVERY_POINT = 6  # type of SEI payload
_START_CODE = re.compile(rb"\x00\x00\x01")


def can_start(packet: bytes, extradata: bytes) -> bool:
    """Whether the packet has an IDR picture, or a recovery point that is reached at once."""
    for unit in split_units(packet, extradata):
        kind = unit[0] & 31
        if kind == _IDR_SLICE:
            return True
        if kind == _SEI and read_recovery_frames(unit[1:]) == 0:
            return True
    return False


def split_units(packet: bytes, extradata: bytes) -> Iterator[bytes]:
    """The NAL units of a packet, behind their lengths (where ``extradata`` says so) or start codes."""
    if len(extradata) > 4 and extradata[0] == 1:
        width = (extradata[4] & 3) + 1
        position = 0
        while position + width < len(packet):
            length = int.from_bytes(packet[position : position + width], "big")
            unit = packet[position + width : position + width + length]
            position += width + length
            if unit:
                yield unit
        return
    starts = [match.end() for match in _START_CODE.finditer(packet)]
    for start, stop in zip(starts, [*starts[1:], len(packet) + 3], strict=False):
        if unit := packet[start : stop - 3]:
            yield unit


def read_recovery_frames(payloads: bytes) -> int | None:
    """How many frames after it a recovery point is reached; None where there is none."""
    data = payloads.replace(b"\x00\x00\x03", b"\x00\x00")
    position = 0
    while position + 2 < len(data):
        kind, position = read_number(data, position)
        size, position = read_number(data, position)
        if kind == _RECOVERY_POINT:
            return read_unsigned(data[position : position + size])
        position += size
    return None


def read_number(data: bytes, position: int) -> tuple[int, int]:
    """A number made of bytes 255 and a last one, and where it ends."""
    total = 0
    while position < len(data) and data[position] == 255:
        total += 255
        position += 1
    return total + (data[position] if position < len(data) else 0), position + 1


def read_unsigned(data: bytes) -> int | None:
    """The first Exp-Golomb number ue(v) of some bits; None where they end before it does."""
    bits = "".join(f"{byte:08b}" for byte in data[:9])
    zeros = len(bits) - len(bits.lstrip("0"))
    if zeros == len(bits) or len(bits) < 2 * zeros + 1:
        return None
    return int(bits[zeros : 2 * zeros + 1], 2) - 1
