"""A tiny ONNX model over gRPC against nghttpd serving a 300-byte file.

nghttpd does HTTP/2 and nothing else: it is the bound of what a gRPC front can reach.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import tiny
from clients import grpc_options, h2load, own_loop
from harness import (
    Report,
    alternate,
    arguments,
    cores,
    fastserve,
    finish,
    free_port,
    listening,
    need,
    parse,
    process,
    repository,
    wait_until,
)

CALLERS = 64


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "grpc_tiny",
        "Tiny model over gRPC against nghttpd",
        f"{cores()}; h2load -c {CALLERS} -m 1 -t 1 for rates, the sending loop of "
        f"`fastserve perf` for one caller; median of {options.rounds} alternating rounds of "
        f"{options.seconds:g} s.",
    )
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "f").write_bytes(bytes(range(100)) * 3)
        bound = free_port()
        command = [need("nghttpd", "nghttp2-server"), "--no-tls", "-d", str(directory), str(bound)]
        nghttpd = stack.enter_context(process(command))
        wait_until(lambda: listening(bound), "nghttpd", nghttpd)
        server = stack.enter_context(fastserve(stack.enter_context(repository("tiny"))))
        body = tiny.grpc_file(directory)
        url = f"http://127.0.0.1:{server.grpc}{tiny.INFER}"
        # One checked second first: h2load does not look at grpc-status.
        ours = grpc_options(server.grpc, tiny.INFER, tiny.grpc_message(), 1)
        own_loop(grpc_options(server.grpc, tiny.INFER, tiny.grpc_message(), CALLERS), 0.5)
        rates = alternate(
            options.rounds,
            lambda: h2load(url, options.seconds, CALLERS, body),
            lambda: h2load(f"http://127.0.0.1:{bound}/f", options.seconds, CALLERS),
        )
        report.compare(f"{CALLERS} callers", *rates, "requests/s", ">= 0.6")
        theirs = grpc_options(bound, "/f", tiny.grpc_message(), 1)
        theirs.accept_plain_http2 = True
        latencies = alternate(
            options.rounds,
            lambda: own_loop(ours, options.seconds).p50_us,
            lambda: own_loop(theirs, options.seconds).p50_us,
        )
        report.compare("one caller, p50", *latencies, "us", "<= 1.6")
    finish(report, options)


if __name__ == "__main__":
    main()
