"""What a Python model's worker costs by itself: CPU time per request of the real worker.py, fed
by a minimal peer over its channel.

Usage: python -m bench.python_worker [--rounds N]
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.python.python_backend.conftest import write_python_model
from tests.python.python_backend.worker_peer import Request, WorkerPeer

MODEL = """
class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(
                "OUT", pb_utils.get_input_tensor_by_name(request, "IN").as_numpy(){change})])
            for request in requests
        ]
"""
_HEADER = struct.Struct("<HHIQQ")
_WORKER_SEGMENT = 1 << 31


def cpu_us(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e3


class Feed:
    """Sends one batch again and again."""

    def __init__(self, change: str, batch: int, array: np.ndarray) -> None:
        model = write_python_model(Path(tempfile.mkdtemp()), MODEL.format(change=change))
        self.peer = WorkerPeer()
        assert self.peer.initialize(model)["error"] is None
        data = bytearray()
        requests = [Request({"IN": array}) for _ in range(batch)]
        bodies = b"".join(self.peer._pack_request(request, data) for request in requests)
        segment = self.peer.lend(bytes(data))
        body = struct.pack("<QIIQQ", 1, batch, segment, 0, len(data)) + bodies
        self._packet = _HEADER.pack(6, 0, 0, 0, len(body)) + body
        self.peer.socket.settimeout(None)

    def round(self) -> None:
        channel = self.peer.socket
        channel.send(self._packet)
        while True:
            packet = channel.recvmsg(1 << 17, 64)[0]
            if packet[0] == 7:
                break
        segment, offset = struct.unpack_from("<IQ", packet, _HEADER.size + 12)
        if segment & _WORKER_SEGMENT:
            release = struct.pack("<IQ", segment, offset)
            channel.send(_HEADER.pack(3, 0, 0, 0, len(release)) + release)


def measure(name: str, change: str, batch: int, array: np.ndarray, rounds: int) -> None:
    feed = Feed(change, batch, array)
    feed.round()
    cpu, wall = [], []
    for _ in range(20):
        started, used = time.perf_counter(), cpu_us(feed.peer.process.pid)
        for _ in range(rounds):
            feed.round()
        wall.append((time.perf_counter() - started) * 1e6 / rounds / batch)
        cpu.append((cpu_us(feed.peer.process.pid) - used) / rounds / batch)
    feed.peer.close()
    print(
        f"{name}, batch {batch}: per request {min(cpu):.1f} us CPU at best, "
        f"{sorted(cpu)[10]:.1f} us in the median, {min(wall):.1f} us from packet to packet"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    rounds = parser.parse_args().rounds
    small = np.ones((1, 16), np.float32)
    for batch in (1, 64):
        for name, change in (("identity", ""), ("a new array", " + 0")):
            measure(name, change, batch, small, max(1, rounds // batch))
    big = np.ones(1 << 20, np.float32)
    measure("4 MiB, identity", "", 1, big, max(1, rounds // 10))
    strings = np.array([b"string %d" % at for at in range(1_000_000)], object)
    measure("1,000,000 strings, reversed", "[::-1]", 1, strings, 1)


if __name__ == "__main__":
    main()
