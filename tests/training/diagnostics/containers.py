"""The same layers in a Sequential and in a Graph, bare and with other containers inside and around."""

from fastconv import nn


def graph_of(*layers):
    """Layers in a row, as the nodes n0, n1, ... of a graph."""
    names = ["input", *(f"n{i}" for i in range(len(layers)))]
    return nn.Graph({names[i + 1]: (layer, names[i]) for i, layer in enumerate(layers)}, names[-1])


def _unit(width=4):
    return nn.Conv2d(width, 3, padding=1), nn.BatchNorm2d(), nn.ReLU()


def _head():
    return nn.GlobalAvgPool2d(), nn.Dense(3)


def _flat(row):
    return row(*_unit(), *_head())


def _residual(row):
    return row(*_unit(), nn.Residual(row(*_unit(), *_unit()[:2])), nn.ReLU(), *_head())


def _parallel(row):
    beside = nn.Parallel(row(*_unit()), nn.Conv2d(2, 1), mode="concatenate")
    return row(beside, row(*_unit()), nn.Tanh(), *_head())


def _inside(row):
    return nn.Sequential(row(*_unit()), nn.Conv2d(3, 1), row(nn.ReLU(), *_head()))


PAIRS = {build.__name__[1:]: build for build in (_flat, _residual, _parallel, _inside)}


def pair(kind):
    """Return a model of Sequentials and the same one of graphs, built alike."""
    sequential, graph = (PAIRS[kind](row).build((6, 6, 2), seed=0) for row in (nn.Sequential, graph_of))
    for ours, theirs in zip(sequential.tensors(), graph.tensors(), strict=True):
        theirs.data = ours.data
    return sequential, graph


def branched():
    """Return a stem and two branches behind it: of a Sequential and a Parallel, and as nodes."""
    stem, left, right = (nn.Conv2d(3, 1), nn.ReLU()), (nn.Conv2d(4, 3, padding=1), nn.ReLU()), (nn.Conv2d(2, 1),)
    sequential = nn.Sequential(*stem, nn.Parallel(nn.Sequential(*left), *right, mode="concatenate"), *_head())
    pool, dense = _head()
    stem, left, right = (nn.Conv2d(3, 1), nn.ReLU()), (nn.Conv2d(4, 3, padding=1), nn.ReLU()), (nn.Conv2d(2, 1),)
    nodes = {
        **{"stem": (stem[0], "input"), "active": (stem[1], "stem")},
        **{"left": (left[0], "active"), "fired": (left[1], "left"), "right": (right[0], "active")},
        **{"both": ("concatenate", "fired", "right"), "pool": (pool, "both"), "dense": (dense, "pool")},
    }
    graph = nn.Graph(nodes, "dense")
    for model in (sequential, graph):
        model.build((6, 6, 2), seed=0)
    for ours, theirs in zip(sequential.tensors(), graph.tensors(), strict=True):
        theirs.data = ours.data
    return sequential, graph


def heads():
    """Return a graph with two outputs, not built."""
    nodes = {"body": (nn.Conv2d(4, 3), "input"), "relu": (nn.ReLU(), "body"), "pool": (nn.GlobalAvgPool2d(), "relu")}
    return nn.Graph({**nodes, "few": (nn.Dense(2), "pool"), "many": (nn.Dense(5), "pool")}, ("few", "many"))
