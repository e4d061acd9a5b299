"""A tiny ONNX model over HTTP (JSON and binary) against a bare aiohttp handler on uvloop."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import tiny
from clients import http_options, own_loop, wrk, wrk_script
from harness import (
    Report,
    alternate,
    arguments,
    cores,
    fastserve,
    finish,
    free_port,
    listening,
    parse,
    process,
    repository,
    wait_until,
)

CALLERS = 64
PATH = "/v2/models/tiny/infer"


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "http_tiny",
        "Tiny model over HTTP against a bare aiohttp handler on uvloop",
        f"{cores()}; wrk -t1 -c{CALLERS} for rates, the sending loop of `fastserve perf` for one "
        f"caller; median of {options.rounds} alternating rounds of {options.seconds:g} s.",
    )
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bound = free_port()
        bare = Path(__file__).with_name("bare_aiohttp.py")
        aiohttp = stack.enter_context(process([sys.executable, str(bare), str(bound)]))
        wait_until(lambda: listening(bound), "the aiohttp handler", aiohttp)
        server = stack.enter_context(fastserve(stack.enter_context(repository("tiny"))))
        for kind in ("JSON", "binary"):
            as_json = kind == "JSON"
            script = wrk_script(directory, kind, *tiny.http_body(as_json=as_json))
            ports = (server.http, bound)
            rates = alternate(
                options.rounds,
                *(
                    lambda port=port, script=script: wrk(
                        f"http://127.0.0.1:{port}{PATH}", options.seconds, CALLERS, script
                    )
                    for port in ports
                ),
            )
            report.compare(f"{kind}, {CALLERS} callers", *rates, "requests/s", ">= 2.5")
            loops = [http_options(p, tiny.http_request(p, as_json=as_json), 1) for p in ports]
            latencies = alternate(
                options.rounds,
                *(lambda loop=loop: own_loop(loop, options.seconds).p50_us for loop in loops),
            )
            report.compare(f"{kind}, one caller, p50", *latencies, "us", "<= 0.85")
    finish(report, options)


if __name__ == "__main__":
    main()
