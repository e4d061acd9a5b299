"""A real redis-server on a free port, that a test can kill and start again."""

import shutil
import socket
import subprocess
import time

_START_TIMEOUT_S = 30.0


class RedisServer:
    def __init__(self) -> None:
        self._program = shutil.which("redis-server")
        assert self._program, "redis-server is not installed: apt-get install redis-server"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Empty: it keeps nothing on disk."""
        flags = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [str(self._program), *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _START_TIMEOUT_S
        while self.command("PING") != b"+PONG\r\n":
            assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < end, "redis-server does not answer"

    def command(self, *words: str) -> bytes:
        """The first bytes of the answer; nothing when nobody answers."""
        message = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(message.encode())
                return connection.recv(65536)
        except OSError:
            return b""

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
