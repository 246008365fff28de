"""The link of a set rate, made for real where the system lets us, and the formula of the prediction."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import scale_out_link
from benchmarks.scale_out_link import bits_per_second, link, predicted, predictions


@pytest.mark.mpi
def test_two_ranks_sum_over_a_link_of_its_rate(job_environment, monkeypatch):
    if os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        pytest.skip("network namespaces: root, ip and tc")
    try:
        with link("100mbit"):
            sums = scale_out_link.across({})
    except OSError as error:
        pytest.skip(str(error))
    assert not Path("/run/netns/fcA").exists()
    # 4 MB in each direction at 100 Mbit/s, but for the bucket of 256 kB that is full at the beginning.
    assert sums["large_ms"] > 0.8 * 8 * (4 << 20) / 100e6 * 1e3 / 2
    assert sums["small_ms"] < sums["large_ms"]


def test_what_was_made_is_taken_away_when_the_rest_cannot_be(monkeypatch):
    gone = []

    def run(words, **settings):
        if words[:3] == ["ip", "netns", "del"]:
            gone.append(words[3])
        elif words[:2] == ["ip", "link"]:
            raise subprocess.CalledProcessError(2, words, stderr=b"not permitted")

    monkeypatch.setattr(scale_out_link.subprocess, "run", run)
    with pytest.raises(OSError, match="not permitted"), link("1gbit"):
        pass
    assert gone == ["fcA", "fcB"]


@pytest.mark.parametrize(("rate", "bits"), [("1gbit", 1e9), ("100mbit", 1e8), ("5kbit", 5e3)])
def test_rates_are_written_as_tc_does(rate, bits):
    assert bits_per_second(rate) == bits


def test_sending_counts_beyond_what_the_backward_pass_hides():
    # 1.25 million floats, 5 MB, at 125 kB a millisecond: 40 ms for two ranks, of which 20 ms are hidden.
    rate = {"bytes_per_ms": 125e3}
    assert predicted(30.0, 1_250_000, {}, **rate) == pytest.approx(30 + 40 - 20)
    assert predicted(30.0, 1_250_000, {"overlap": False}, **rate) == pytest.approx(70)
    assert predicted(30.0, 1_250_000, {"overlap": False, "gradients": "bfloat16"}, **rate) == pytest.approx(50)
    eight = predicted(30.0, 1_250_000, {"overlap": False}, latency_ms=0.5, ranks=8, **rate)
    assert eight == pytest.approx(30 + 2 * 3 * 0.5 + 70)


def test_predictions_are_of_a_rank_alone_and_the_sums_measured():
    rows = [{"model": "m", "setting": "overlap", "alone_ms": 10.0, "parameters": 1 << 20}]
    found = predictions(rows, {"small_ms": 1.0, "large_ms": 33.0})
    assert [row["ranks"] for row in found] == [8, 64, 512]
    # 2 * 7/8 * 4 MB in 56 ms, and 6 half milliseconds of latency, less the 6.7 ms that are hidden.
    assert found[0]["step_ms"] == pytest.approx(10 + 56 + 3 - 20 / 3, abs=0.1)
    assert found[0]["efficiency"] == round(10 / (10 + 56 + 3 - 20 / 3), 2)
