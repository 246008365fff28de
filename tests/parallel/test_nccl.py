"""Against an imitation of `cupyx.distributed`: no GPU is here, and never two."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fastconv.errors import BackendUnavailableError, DependencyError
from fastconv.parallel import DataParallel, NCCLCommunicator
from fastconv.parallel.tree import from_bf16, in_tree, to_bf16
from tests.parallel.threads import ThreadCommunicator, run_ranks


class OnDevice(np.ndarray):
    """Stands for an array on a GPU: it is no plain NumPy array, and refuses to be carried by the host."""


class FakeGroup:
    """What `cupyx.distributed.init_process_group` returns, with the names and the arguments of its methods.

    It refuses what that refuses: types that NCCL does not know, arrays with gaps, other numbers of elements. Streams
    are those of the caller's thread, as no call names one.
    """

    TYPES = "bBiIlLqQefd"  # of `cupyx.distributed._nccl_comm`, but complex ones

    def __init__(self, host: ThreadCommunicator) -> None:
        self._host, self.calls = host, []

    def _check(self, *arrays, stream):
        assert stream is None
        for array in arrays:
            assert array.flags.c_contiguous
            if array.dtype.char not in self.TYPES:
                raise TypeError(f"Unknown dtype {array.dtype} for NCCL")
        assert len({array.dtype for array in arrays}) == 1

    def all_reduce(self, in_array, out_array, op="sum", stream=None):
        self.calls.append("all_reduce")
        self._check(in_array, out_array, stream=stream)
        assert in_array is out_array
        assert op == "sum"
        self._host.allreduce(in_array, ordered=False)

    def broadcast(self, in_out_array, root=0, stream=None):
        self.calls.append("broadcast")
        self._check(in_out_array, stream=stream)
        assert 0 <= root < self._host.size
        self._host.broadcast(in_out_array, root)

    def all_to_all(self, in_array, out_array, stream=None):
        self.calls.append("all_to_all")
        self._check(in_array, out_array, stream=stream)
        assert len(in_array) == len(out_array) == self._host.size
        assert in_array.shape == out_array.shape
        self._host.all_to_all(in_array, out_array)

    def all_gather(self, in_array, out_array, count, stream=None):
        self.calls.append("all_gather")
        self._check(in_array, out_array, stream=stream)
        assert count == in_array.size
        assert out_array.size == count * self._host.size
        self._host.all_gather(in_array, out_array)


@pytest.fixture(autouse=True)
def _arrays_of_devices(monkeypatch):
    """NumPy's own class is what lies on the host; what is derived from it plays an array of CuPy."""
    monkeypatch.setattr("fastconv.parallel.nccl.lies_on_host", lambda buffer: type(buffer) is np.ndarray)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("bf16", [False, True])
def test_device_arrays_go_by_nccl_in_the_order_of_the_tree(rng, size, bf16):
    terms = rng.standard_normal((size, 50)).astype(np.float32)

    def rank(host):
        group = FakeGroup(host)
        communicator = NCCLCommunicator(host, group)
        buffer = terms[communicator.rank].copy().view(OnDevice)
        communicator.allreduce(buffer, bf16=bf16)
        return np.asarray(buffer), group.calls

    sent = [from_bf16(to_bf16(term)) for term in terms] if bf16 else list(terms)
    wanted = in_tree(sent, lambda a, b: a + b)
    for found, calls in run_ranks(size, rank):
        np.testing.assert_array_equal(found, from_bf16(to_bf16(wanted)) if bf16 else wanted)
        assert calls == (["all_reduce"] if size == 2 and not bf16 else ["all_to_all", "all_gather"])


def test_host_arrays_go_by_the_host():
    def rank(host):
        group = FakeGroup(host)
        communicator = NCCLCommunicator(host, group)
        values = np.array([host.rank], np.int64)
        communicator.allreduce(values)
        communicator.broadcast(values)
        communicator.barrier()
        mine = np.full(3, host.rank, np.float32).view(OnDevice)
        communicator.broadcast(mine, 1)
        return values.tolist(), mine.tolist(), group.calls

    assert run_ranks(2, rank) == [([1], [1.0] * 3, ["broadcast"])] * 2


def test_the_thread_that_sends_uses_the_gpu_of_its_rank():
    class Device:
        used_by = ()

        def use(self):
            self.used_by = (*self.used_by, threading.current_thread().name)

    def rank(host):
        communicator = NCCLCommunicator(host, FakeGroup(host))
        communicator._gpu = device = Device()
        parallel = DataParallel(communicator)
        parallel.exchange.later(lambda: None).wait()
        parallel.exchange.later(lambda: None).wait()
        return device.used_by

    assert run_ranks(2, rank) == [("fastconv exchange",)] * 2


@pytest.mark.parametrize("dtype", [np.uint16, np.bool_])
def test_the_imitation_refuses_types_that_nccl_does_not_know(dtype):
    host = ThreadCommunicator(type("Job", (), {"size": 1})(), 0)
    with pytest.raises(TypeError, match="for NCCL"):
        FakeGroup(host).broadcast(np.zeros(2, dtype))


def test_without_nccl_it_says_what_to_install():
    host = ThreadCommunicator(type("Job", (), {"size": 1})(), 0)
    with pytest.raises((BackendUnavailableError, DependencyError), match="NCCL"):
        NCCLCommunicator(host)
