"""Epilogues, and which of them are declared to be native."""

from __future__ import annotations

import itertools

from fastconv.kernels.epilogue import ALL_NATIVE, NO_EPILOGUE, Epilogue, Native
from fastconv.kernels.geometry import PoolWindows
from fastconv.kernels.pointwise import POINTWISE, RELU

WINDOWS = PoolWindows((2, 2), (2, 2))


def test_native_are_those_whose_every_part_is() -> None:
    for adds, activates, pools in itertools.product((False, True), repeat=3):
        native = Native(adds, frozenset(("relu",) if activates else ()), pools)
        for added, rectified, pooled in itertools.product((False, True), repeat=3):
            epilogue = Epilogue(added, RELU if rectified else None, WINDOWS if pooled else None)
            assert (epilogue in native) == (adds >= added and activates >= rectified and pools >= pooled)
            assert epilogue in ALL_NATIVE
    assert Epilogue(activation=POINTWISE["gelu"]()) not in Native(activations=frozenset(("relu",)))


def test_of_all_nothing_is_left_out() -> None:
    assert ALL_NATIVE.activations == set(POINTWISE)
    assert (ALL_NATIVE.adds, ALL_NATIVE.pools, ALL_NATIVE.keeps) == (True, True, True)


def test_they_are_values() -> None:
    one, other = (Epilogue(True, POINTWISE["leaky_relu"](0.2), WINDOWS) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Epilogue(True, POINTWISE["leaky_relu"](0.3), WINDOWS)
    assert one.unpooled == Epilogue(True, POINTWISE["leaky_relu"](0.2))
    assert Epilogue() == NO_EPILOGUE
