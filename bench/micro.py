"""Operations inside the core that are too short to be seen from outside: the micro benchmarks of
bench/cpp that have a limit. `make build` builds them.
"""

import json
import subprocess
import sys

from harness import ROOT, Report, arguments, cores, finish, parse

PROGRAMS = ROOT / "build" / "dev" / "bench" / "cpp"
QUEUE_TURN = "BM_PolicyQueueTurnWithPriorities/10000"
QUEUE_TURN_LIMIT_NS = 1000  # one request leaves the queue, one enters
EXECUTED, HIT, MISS = (f"BM_EngineRequest/executed,hit,miss:{i}" for i in range(3))


def samples_ns(program: str, names: list[str], rounds: int, seconds: float) -> list[list[float]]:
    """Wall-clock time of one iteration, in each round of each benchmark."""
    file = PROGRAMS / f"bench_{program}"
    if not file.exists():
        sys.exit(f"{file} is not built: make build")
    command = [
        str(file),
        f"--benchmark_filter=^({'|'.join(names)})$",
        f"--benchmark_repetitions={rounds}",
        f"--benchmark_min_time={seconds / 4}",
        "--benchmark_enable_random_interleaving=true",
        "--benchmark_format=json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    runs = [run for run in json.loads(done.stdout)["benchmarks"] if run["run_type"] == "iteration"]
    assert all(run["time_unit"] == "ns" for run in runs)
    samples = [[run["real_time"] for run in runs if run["run_name"] == name] for name in names]
    assert all(samples), f"{program} does not have all of {names}"
    return samples


def main() -> None:
    options = parse(arguments(__doc__))
    report = Report(
        "micro",
        "Inside the core",
        f"{cores()}; Google Benchmark, one thread; median of {options.rounds} repetitions.",
    )
    (turns,) = samples_ns("scheduling", [QUEUE_TURN], options.rounds, options.seconds)
    what = "a request leaves and one enters a queue of 10,000 in 5 priority levels, with timeouts"
    report.compare(what, turns, [QUEUE_TURN_LIMIT_NS] * len(turns), "ns", "<= 1")
    names = [EXECUTED, HIT, MISS]
    executed, hit, miss = samples_ns("cache", names, options.rounds, options.seconds)
    report.compare(
        "response cache: a hit, and a miss of the tiny model", hit, miss, "ns", "<= 0.333"
    )
    report.compare("the tiny model: without the cache, and a miss", executed, miss, "ns")
    finish(report, options)


if __name__ == "__main__":
    main()
