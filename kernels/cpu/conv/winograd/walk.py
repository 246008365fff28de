"""The walk over the tiles of a block, in the order of memory: every kernel makes it, each with a visit of its own."""

from typing import NamedTuple

from ...runtime.launch import device


class Tile(NamedTuple):
    """A tile on the way: its place in the block, its image, its row and column in the grid of tiles of the image."""

    number: int
    image: int
    i: int
    j: int


def make_walk(visit):
    """Make the loop ``state = visit(tile, job, plan, state, dt)``; `job` is what all visits are told."""

    @device
    def walk_tiles(first, tiles, job, plan, state, dt):
        """Visit so many tiles from number `first` of the batch on; return the last state."""
        image, place = divmod(first, plan.tiles_h * plan.tiles_w)
        i, j = divmod(place, plan.tiles_w)
        for t in range(tiles):
            state = visit(Tile(t, image, i, j), job, plan, state, dt)
            j += 1
            if j == plan.tiles_w:
                i, j = i + 1, 0
            if i == plan.tiles_h:
                image, i = image + 1, 0
        return state

    return walk_tiles
