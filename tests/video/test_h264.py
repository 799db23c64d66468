"""Which H.264 packets decoding can start at."""

from __future__ import annotations

from deepfake.video.h264 import can_start

AVCC = b"\x01\x42\x00\x1e\xff\xe1"  # lengths of four bytes


def with_length(unit: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit


def recovery_point(bits: int, before: bytes = b"") -> bytes:
    """An SEI unit whose recovery point begins with this byte, behind other payloads."""
    return b"\x06" + before + bytes([6, 1, bits]) + b"\x80"


def test_an_idr_picture_is_a_start_and_another_slice_is_none() -> None:
    assert can_start(with_length(b"\x09\xf0") + with_length(b"\x65\x88"), AVCC)
    assert not can_start(with_length(b"\x09\xf0") + with_length(b"\x41\x9a"), AVCC)
    assert can_start(b"\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x65\x88", b"")
    assert not can_start(b"\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x41\x88", b"")


def test_a_recovery_point_is_a_start_where_it_is_reached_at_once() -> None:
    slice_unit = with_length(b"\x41\x9a")
    assert can_start(with_length(recovery_point(0b1_0_0_00_000)) + slice_unit, AVCC)
    # ue(v) 00101 is four frames.
    assert not can_start(with_length(recovery_point(0b00101_000)) + slice_unit, AVCC)
    user_data = bytes([5, 255, 2]) + b"x" * 257  # a payload of 257 bytes comes first
    assert can_start(with_length(recovery_point(0b1_0_0_00_000, user_data)) + slice_unit, AVCC)
    assert not can_start(with_length(b"\x06" + user_data + b"\x80") + slice_unit, AVCC)


def test_broken_packets_are_no_start_and_no_error() -> None:
    for packet in (
        b"",
        b"\x00",
        b"\xff" * 9,
        with_length(b"\x06"),
        with_length(b"\x06\x06"),
        b"\x00\x00\x01",
    ):
        assert not can_start(packet, AVCC)
        assert not can_start(packet, b"")
    assert not can_start(with_length(recovery_point(0)), AVCC)
