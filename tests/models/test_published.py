"""Counts of parameters and multiplications that others published, of every model, without building any."""

import inspect

import pytest

import fastconv as fc
from benchmarks import sweeps

# Parameters with 1000 classes for ImageNet and 10 else. He et al. 2015 give those of the thin networks to two digits,
# 0.27, 0.46, 0.66, 0.85 and 1.7 million; the others are those of torchvision's models, of Keras' examples, of
# Caffe's model zoo (AlexNet, GoogLeNet), and for CIFAR-10 of https://github.com/kuangliu/pytorch-cifar and
# https://github.com/bearpaw/pytorch-classification.
PARAMETERS = {
    ("airbench", None): 1_971_640,
    ("alexnet", "cifar"): 2_472_266,
    ("alexnet", "imagenet"): 60_965_224,
    ("googlenet", "cifar"): 6_166_250,
    ("googlenet", "imagenet"): 6_998_552,
    ("keras_cnn", None): 1_250_858,
    ("lenet5", None): 62_006,
    ("mlp", None): 1_640_330,
    ("mnist_cnn", None): 1_199_882,
    ("mobilenet", "cifar"): 3_217_226,
    ("mobilenet", "imagenet"): 4_231_976,
    ("resnet9", None): 6_573_120,
    ("resnet18", "cifar"): 11_173_962,
    ("resnet18", "imagenet"): 11_689_512,
    ("resnet20", None): 269_722,
    ("resnet32", None): 464_154,
    ("resnet34", "cifar"): 21_282_122,
    ("resnet34", "imagenet"): 21_797_672,
    ("resnet44", None): 658_586,
    ("resnet50", "cifar"): 23_520_842,
    ("resnet50", "imagenet"): 25_557_032,
    ("resnet56", None): 853_018,
    ("resnet110", None): 1_727_962,
    ("tf_cifar10", None): 1_068_298,
    ("vgg11", "cifar"): 9_231_114,
    ("vgg11", "imagenet"): 132_868_840,
    ("vgg13", "cifar"): 9_416_010,
    ("vgg13", "imagenet"): 133_053_736,
    ("vgg16", "cifar"): 14_728_266,
    ("vgg16", "imagenet"): 138_365_992,
    ("vgg19", "cifar"): 20_040_522,
    ("vgg19", "imagenet"): 143_678_248,
}
MODELS = sorted({name for name, _ in PARAMETERS})
# As in the paper, without normalisation.
BARE = {"vgg11": 132_863_336, "vgg13": 133_047_848, "vgg16": 138_357_544, "vgg19": 143_667_240}
# The six architectures of a lecture's notebook, as benchmarks/sweeps.py trains them: settings and parameters.
VARIANTS = {
    "base": ({}, 1_199_882),
    "one norm": ({"normalised": 1}, 1_199_946),
    "two norms": ({"normalised": 2}, 1_200_202),
    "norm, 5x5": ({"normalised": 1, "kernel_size": 5}, 872_778),
    "norm, 5x5, pool 4": ({"normalised": 1, "kernel_size": 5, "pool_size": 4}, 258_378),
    "5x5, pool 4": ({"kernel_size": 5, "pool_size": 4}, 258_314),
}
# Multiplications for an image of 224 x 224, in units of 10^9, as torchvision's tables round them.
MULTIPLICATIONS = {
    "mobilenet": 0.569,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "vgg11": 7.61,
    "vgg13": 11.31,
    "vgg16": 15.47,
    "vgg19": 19.63,
}


def summary(name, form, **settings):
    if form is not None:
        settings["form"] = form
    own = {"mnist_cnn": (28, 28, 1), "tf_cifar10": (24, 24, 3)}
    large = (227, 227, 3) if name == "alexnet" else (224, 224, 3)
    size = large if form == "imagenet" else own.get(name, (32, 32, 3))
    return getattr(fc.models, name).unbuilt(1000 if form == "imagenet" else 10, **settings).summary(size)


def test_every_model_is_counted_in_every_form():
    models = {name: getattr(fc.models, name) for name in fc.models.__all__}
    forms = {name: inspect.signature(make).parameters for name, make in models.items() if hasattr(make, "unbuilt")}
    wanted = {
        (name, form) for name, own in forms.items() for form in (("cifar", "imagenet") if "form" in own else (None,))
    }
    assert set(PARAMETERS) == wanted


@pytest.mark.parametrize(("name", "form"), PARAMETERS)
def test_parameters(name, form):
    assert summary(name, form).parameters == PARAMETERS[name, form]


@pytest.mark.parametrize("name", BARE)
def test_parameters_without_normalisation(name):
    assert summary(name, "imagenet", batch_norm=False).parameters == BARE[name]


@pytest.mark.parametrize("name", MULTIPLICATIONS)
def test_multiplications(name):
    assert f"{summary(name, 'imagenet').macs / 1e9:.{2 + (name == 'mobilenet')}f}" == f"{MULTIPLICATIONS[name]}"


def test_multiplications_of_alexnet():
    """As Sze et al. 2017 give them, table 2, https://arxiv.org/abs/1703.09039: 666 M and 58.6 M."""
    found = summary("alexnet", "imagenet")
    parts = [sum(row.macs for row in found.rows if row.kind == kind) for kind in ("Conv2d", "Dense")]
    assert [f"{part / 1e6:.1f}" for part in parts] == ["665.8", "58.6"]
    assert found.macs == sum(parts) == 724_406_816


def test_multiplications_of_googlenet():
    """As table 1 of the paper has them in millions, https://arxiv.org/abs/1409.4842.

    But for two of its rows, which are not what its own sizes give: 34 for the first convolution, of 7 x 7 x 3 x 64 at
    112 x 112 places, and 54 for the module 5a.
    """
    found = summary("googlenet", "imagenet")
    millions = {}
    for row in found.rows:
        place = int(row.name.partition(".")[0])
        millions[place] = millions.get(place, 0) + row.macs / 1e6
    table = {10: 128, 11: 304, 13: 73, 14: 88, 15: 100, 16: 119, 17: 170, 20: 71, 23: 1}
    for place, published in table.items():
        assert abs(millions[place] - published) < 1, place
    assert round(millions[4] + millions[6]) == 360
    assert millions[0] == 112 * 112 * 64 * 7 * 7 * 3 / 1e6
    assert found.macs == 1_582_671_872


@pytest.mark.parametrize(("name", "published"), [("resnet56", 1.25), ("resnet110", 2.53), ("vgg16", 3.13)])
def test_multiplications_for_small_images(name, published):
    """As Li et al. 2017 give them, table 1, https://arxiv.org/abs/1608.08710, in units of 10^8.

    Their VGG has another dense layer of 512, which is too little to count.
    """
    assert f"{summary(name, None).macs / 1e8:.2f}" == f"{published}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_mnist_cnn(variant):
    settings, count = VARIANTS[variant]
    assert summary("mnist_cnn", None, **settings).parameters == count


def test_variants_of_mnist_cnn_are_those_that_the_sweep_trains():
    trained = {cell: sweeps.CELLS[cell] for cell in (point.cell for point in sweeps.SWEEPS["architecture"])}
    for variant, (settings, _) in VARIANTS.items():
        written = " ".join(f"{key}={value}" for key, value in settings.items())
        assert trained[variant] == sweeps.CELLS["base"].replace("mnist_cnn", f"mnist_cnn {written}".strip())
    assert trained.keys() == VARIANTS.keys()


def test_multiplications_of_mnist_cnn():
    """Two convolutions of 26 x 26 and 24 x 24 outputs, and two dense layers."""
    want = 26 * 26 * 32 * 9 + 24 * 24 * 64 * 9 * 32 + 12 * 12 * 64 * 128 + 128 * 10
    assert summary("mnist_cnn", None).macs == want == 11_992_448


def test_airbench():
    """Weights without biases, and twice the multiplications, as its report gives them: 1.97 M, and 0.2363 GFLOP."""
    found = summary("airbench", None)
    assert found.macs == 118_147_360
    weights = sum(row.parameters for row in found.rows if row.kind in ("Conv2d", "Dense")) - 24
    assert weights == 1_970_464
    assert found.parameters - weights == 24 + 2 * (64 + 256 + 256)


def test_the_weights_of_vgg16_layer_by_layer():
    """As Stanford's CS231n lists them, https://cs231n.github.io/convolutional-networks/, biases not counted."""
    rows = summary("vgg16", "imagenet", batch_norm=False).rows
    weights = [row.parameters - row.output_shape[-1] for row in rows if row.parameters]
    assert weights == [
        *(1_728, 36_864, 73_728, 147_456, 294_912, 589_824, 589_824, 1_179_648, 2_359_296, 2_359_296),
        *(2_359_296, 2_359_296, 2_359_296, 102_760_448, 16_777_216, 4_096_000),
    ]
    assert [row.output_shape for row in rows if row.kind == "MaxPool2d"] == [
        *((112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512)),
    ]


@pytest.mark.parametrize("name", MODELS)
def test_ten_classes_of_cifar_are_the_default(name):
    wanted = {"num_classes": 10, "form": "cifar", "batch_norm": True, "normalised": 0}
    given = inspect.signature(getattr(fc.models, name)).parameters
    assert given["num_classes"].default == 10
    assert all(given[key].default == value for key, value in wanted.items() if key in given)
