"""`python -m benchmarks`: runs the experiments, prints tables, and leaves JSON and a chart behind."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from benchmarks import chart, report, servers
from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.cluster import generate
from benchmarks.experiments import EXPERIMENTS
from benchmarks.figures import Figure
from benchmarks.processes import BenchmarkError, prepare_this_program

OUT = Path(__file__).with_name("out")
PUBLISHED_CHART = Path(__file__).parents[1] / "docs" / "benchmarks.svg"


def main(argv: list[str] | None = None) -> int:
    """Run the suite; the exit status is 1 if an experiment could not be run."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminate)
    prepare_this_program()
    plan = QUICK if arguments.quick else FULL
    chosen = arguments.only or list(EXPERIMENTS)
    figures: list[Figure] = []
    failed = False
    try:
        taking_part = servers.SERVERS if arguments.peers is None else servers.choose(arguments.peers.split(","))
        with Bench(plan, generate(), taking_part, arguments.kubeconfig) as bench:
            for name in chosen:
                begun = time.monotonic()
                print(f"{name} ...", flush=True)
                try:
                    figures += EXPERIMENTS[name](bench)
                except BenchmarkError as error:
                    bench.note(f"{name} failed: {error}")
                    failed = True
                print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
            run = report.Run(plan, figures, bench.notes)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: stopped", file=sys.stderr)
        return 130
    print(f"\n{report.tables(run)}")
    report.write_json(run, OUT / "benchmarks.json")
    drawn = chart.draw(figures)
    (OUT / "benchmarks.svg").write_text(drawn)
    print(f"\n{OUT / 'benchmarks.json'}\n{OUT / 'benchmarks.svg'}")
    measured = {figure.experiment for figure in figures if figure.server.startswith("dnsd")}
    if plan is FULL and measured == set(EXPERIMENTS):
        PUBLISHED_CHART.parent.mkdir(exist_ok=True)
        PUBLISHED_CHART.write_text(drawn)
        print(PUBLISHED_CHART)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure dnsd beside its peers.")
    parser.add_argument("--quick", action="store_true", help="less of everything: under two minutes")
    parser.add_argument("--only", action="append", choices=list(EXPERIMENTS), help="run this experiment; repeatable")
    parser.add_argument(
        "--peers", metavar="NAMES", help="the peers to take part, separated by commas (default: all found)"
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="an API server that holds the cluster, for CoreDNS"
    )
    return parser


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """End as Ctrl-C does, so that every context is left."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
