"""A clip sent over loopback at its own rate, as a camera's encoder sends it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av


def find_udp_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_udp_port_bound(port: int) -> bool:
    """Whether somebody listens there (Linux)."""
    table = Path("/proc/net/udp").read_text().splitlines()[1:]
    return any(int(line.split()[1].rpartition(":")[2], 16) == port for line in table)


def send_clip(clip: Path, address: str) -> None:
    """The packets of a clip's video stream as MPEG-TS, each when its time has come."""
    began = time.monotonic()
    with av.open(str(clip)) as source, av.open(address, "w", format="mpegts") as sent:
        stream = source.streams.video[0]
        copied = sent.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None:
                continue
            time.sleep(max(0.0, began + float(packet.dts * packet.time_base) - time.monotonic()))
            packet.stream = copied
            sent.mux(packet)


@contextmanager
def send_when_awaited(clip: Path, most_seconds: float = 120) -> Iterator[str]:
    """An address for MPEG-TS over UDP; the clip is sent there once, as soon as somebody listens."""
    port = find_udp_port()
    address = f"udp://127.0.0.1:{port}"

    def send() -> None:
        until = time.monotonic() + most_seconds
        while not is_udp_port_bound(port):
            if time.monotonic() > until:
                return
            time.sleep(0.02)
        send_clip(clip, f"{address}?pkt_size=1316")

    thread = threading.Thread(target=send)
    thread.start()
    yield address
    thread.join()
