"""The results: a table, perf_analyzer's CSV, JSON."""

import csv
import json
from pathlib import Path
from typing import Any

from fastserve.tools.perf.measurement import Level
from fastserve.tools.perf.settings import Settings

PERCENTILES = (50, 90, 95, 99, 99.9)
SHOWN_ERRORS = 5


def _server_us(level: Level, nanoseconds: int) -> float:
    assert level.server is not None
    return nanoseconds / 1000 / max(1, level.server.successes)


def _per_request_us(level: Level, nanoseconds: int) -> float:
    return nanoseconds / 1000 / float(max(1, level.window.completed))


def level_row(level: Level) -> dict[str, Any]:
    """One line of the CSV: perf_analyzer's columns first, ours after them."""
    name = "Concurrency" if level.kind == "concurrency" else "Request Rate"
    value = int(level.value) if level.kind == "concurrency" else level.value
    send = _per_request_us(level, level.window.send_ns)
    receive = _per_request_us(level, level.window.receive_ns)
    row: dict[str, Any] = {name: value}
    row["Inferences/Second"] = round(level.inferences_per_second, 3)
    row["Client Send"] = round(send)
    if level.server is not None:
        server = level.server
        parts = {
            "Server Queue": server.queue_ns,
            "Server Compute Input": server.compute_input_ns,
            "Server Compute Infer": server.compute_infer_ns,
            "Server Compute Output": server.compute_output_ns,
        }
        known = {title: round(_server_us(level, spent)) for title, spent in parts.items()}
        rest = level.window.mean_us - send - receive - sum(known.values())
        row["Network+Server Send/Recv"] = max(0, round(rest))
        row.update(known)
    row["Client Recv"] = round(receive)
    for percentile in PERCENTILES[:-1]:
        row[f"p{percentile} latency"] = round(level.latency_us(percentile))
    row["p99.9 latency"] = round(level.latency_us(99.9))
    row["Avg latency"] = round(level.latency_us(None))
    row["Failed requests"] = level.window.failed
    return row


def write_csv(path: str, levels: list[Level]) -> None:
    rows = [level_row(level) for level in levels]
    columns: list[str] = []
    for row in rows:
        columns.extend(name for name in row if name not in columns)
    with Path(path).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval=0)
        writer.writeheader()
        writer.writerows(rows)


def level_json(level: Level) -> dict[str, Any]:
    window = level.window
    return {
        level.kind.replace(" ", "_"): level.value,
        "stable": level.stable,
        "windows": level.windows,
        "seconds": window.time_s,
        "requests_per_second": level.requests_per_second,
        "inferences_per_second": level.inferences_per_second,
        "batch_size": level.batch_size,
        "latency_us": {
            "mean": window.mean_us,
            "standard_deviation": window.standard_deviation_us,
            **{f"p{percentile}": window.percentile_us(percentile) for percentile in PERCENTILES},
        },
        "completed": window.completed,
        "failed": window.failed,
        "timed_out": window.timed_out,
        "late": window.late,
        "overdue": window.overdue,
        "sent_bytes": window.sent_bytes,
        "received_bytes": window.received_bytes,
        "client_cpu_us_per_request": _per_request_us(level, round(window.cpu_s * 1e9)),
        "server": vars(level.server) if level.server is not None else None,
        "errors": [{"text": text, "count": count} for text, count in level.errors],
    }


def write_json(path: str, settings: Settings, levels: list[Level]) -> None:
    document = {
        "model": settings.model_name,
        "protocol": settings.protocol,
        "url": settings.url,
        "levels": [level_json(level) for level in levels],
    }
    Path(path).write_text(json.dumps(document, indent=2) + "\n")


def table(levels: list[Level]) -> str:
    """The results for the terminal, latencies in microseconds."""
    if not levels:
        return "nothing was measured"
    head = [levels[0].kind.capitalize(), "Infer/s", "mean us"]
    head += [f"p{percentile}" for percentile in PERCENTILES] + ["failed", "client us/req", ""]
    lines = [head]
    for level in levels:
        cells = [f"{level.value:g}", f"{level.inferences_per_second:.1f}"]
        cells.append(f"{level.latency_us(None):.0f}")
        cells += [f"{level.latency_us(percentile):.0f}" for percentile in PERCENTILES]
        cells.append(str(level.window.failed))
        cells.append(f"{_per_request_us(level, round(level.window.cpu_s * 1e9)):.1f}")
        cells.append(_remark(level))
        lines.append(cells)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _remark(level: Level) -> str:
    remarks = []
    if level.interrupted:
        remarks.append("interrupted")
    elif not level.stable:
        remarks.append("not stable")
    if level.kind != "concurrency" and level.requests_per_second < 0.95 * level.value:
        remarks.append(f"rate not reached, {level.window.overdue} requests overdue")
    return ", ".join(remarks)


def error_lines(levels: list[Level]) -> list[str]:
    """The first few failure texts with their number."""
    counts: dict[str, int] = {}
    for level in levels:
        for text, count in level.errors:
            counts[text] = counts.get(text, 0) + count
    shown = [f"  {count} x {text}" for text, count in list(counts.items())[:SHOWN_ERRORS]]
    if len(counts) > SHOWN_ERRORS:
        shown.append(f"  and {len(counts) - SHOWN_ERRORS} other texts")
    return shown


def server_line(level: Level) -> str | None:
    """Where the server says that the time went, of one level."""
    if level.server is None or level.server.successes == 0:
        return None
    server = level.server
    return (
        f"  server: queue {_server_us(level, server.queue_ns):.0f} us, "
        f"compute input {_server_us(level, server.compute_input_ns):.0f} us, "
        f"infer {_server_us(level, server.compute_infer_ns):.0f} us, "
        f"output {_server_us(level, server.compute_output_ns):.0f} us; "
        f"mean batch {server.inferences / max(1, server.executions):.1f}"
    )
