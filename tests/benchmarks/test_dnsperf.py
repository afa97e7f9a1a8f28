"""What dnsperf prints is read as it is meant."""

from __future__ import annotations

import pytest

from benchmarks import dnsperf
from benchmarks.processes import BenchmarkError

PRINTED = """\
DNS Performance Testing Tool
Version 2.10.0

[Status] Command line: dnsperf -s 127.0.0.1 -p 5999 -d questions -l 2 -v
[Status] Sending queries (to 127.0.0.1:5999)
[Status] Started at: Sat Nov 21 09:07:45 2026
[Status] Stopping after 2.000000 seconds
> NOERROR api-0.payments-0.svc.cluster.local. A 0.000348
> T worker-1.payments-0.svc.cluster.local. A
> NXDOMAIN absent.payments-0.svc.cluster.local. AAAA 0.002107
[Timeout] Query timed out: msg id 1
[Status] Testing complete (time limit)

Statistics:

  Queries sent:         669835
  Queries completed:    669832 (100.00%)
  Queries lost:         3 (0.00%)

  Response codes:       NOERROR 642930 (95.98%), NXDOMAIN 26902 (4.02%)
  Average packet size:  request 50, response 97
  Run time (s):         2.000230
  Queries per second:   334877.489089

  Average Latency (s):  0.000149 (min 0.000026, max 0.003145)
  Latency StdDev (s):   0.000111

"""

NOTHING_ANSWERED = """\
  Queries sent:         9
  Queries completed:    0 (0.00%)
  Queries lost:         9 (100.00%)

  Response codes:       
  Average packet size:  request 48, response 0
  Run time (s):         2.500296
  Queries per second:   0.000000

  Average Latency (s):  0.000000 (min 0.000000, max 0.000000)
"""  # noqa: W291 - as dnsperf prints it


def test_statistics() -> None:
    report = dnsperf.parse(PRINTED)
    assert (report.sent, report.completed, report.lost) == (669_835, 669_832, 3)
    assert (report.seconds, report.latency) == (2.00023, 0.000149)
    assert report.rcodes == {"NOERROR": 642_930, "NXDOMAIN": 26_902}
    assert report.rate == pytest.approx(334_877.489)
    assert report.in_flight == pytest.approx(49.9, abs=0.1)


def test_latencies_are_those_of_answers_and_not_of_time_outs() -> None:
    assert dnsperf.parse(PRINTED).latencies == (0.000348, 0.002107)


def test_a_run_without_answers() -> None:
    report = dnsperf.parse(NOTHING_ANSWERED)
    assert (report.sent, report.completed, report.lost, report.rcodes) == (9, 0, 9, {})


@pytest.mark.parametrize("text", ["", "Error: unable to open file", PRINTED.partition("Queries lost")[0]])
def test_output_without_statistics_is_an_error(text: str) -> None:
    with pytest.raises(BenchmarkError, match="no statistics"):
        dnsperf.parse(text)
