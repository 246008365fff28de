"""Models in PyTorch, as its users write them: the peers of `bench_train_step` and `pruning`."""

from typing import Any

import numpy as np


def make_model(torch: Any, name: str) -> Any:
    """Return the module of the model called `name`."""
    makers = {"keras_cnn": _keras_cnn, "resnet20": _resnet20, "resnet9": _resnet9, "tf_cifar10": _tf_cifar10}
    return makers[name](torch.nn)


def make_step(torch: Any, name: str, x: np.ndarray, y: np.ndarray, layout: str, *, bf16: bool) -> Any:
    """Return a function that does one training step on the NHWC images `x` and labels `y`."""
    torch.manual_seed(0)
    memory_format = getattr(torch, layout)
    model = make_model(torch, name).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    labels = torch.from_numpy(y).long()

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _keras_cnn(nn: Any) -> Any:
    return nn.Sequential(
        *(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        ),
        *(
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        ),
        *(nn.Flatten(), nn.Linear(64 * 6 * 6, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10)),
    )


def _tf_cifar10(nn: Any) -> Any:
    def norm() -> Any:
        return nn.LocalResponseNorm(9, alpha=1e-3, beta=0.75, k=1.0)

    return nn.Sequential(
        *(nn.Conv2d(3, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), norm()),
        *(nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), norm(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.Flatten(), nn.Linear(64 * 6 * 6, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)),
    )


def _conv_bn(nn: Any, inputs: int, outputs: int, stride: int = 1) -> Any:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


def _shortcut(nn: Any, extra: int, stride: int) -> Any:
    class Shortcut(nn.Module):
        def forward(self, x: Any) -> Any:
            if stride == 1:
                return x
            return nn.functional.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, extra // 2, extra - extra // 2))

    return Shortcut()


def _sum(nn: Any, body: Any, shortcut: Any) -> Any:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    return Sum()


def _resnet20(nn: Any) -> Any:
    layers, inputs = [_conv_bn(nn, 3, 16), nn.ReLU()], 16
    for width in (16, 32, 64):
        for _ in range(3):
            stride = 1 if width == inputs else 2
            body = nn.Sequential(_conv_bn(nn, inputs, width, stride), nn.ReLU(), _conv_bn(nn, width, width))
            layers += [_sum(nn, body, _shortcut(nn, width - inputs, stride)), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def _resnet9(nn: Any) -> Any:
    def block(inputs: int, outputs: int, pool: bool = False) -> list[Any]:
        return [_conv_bn(nn, inputs, outputs), nn.ReLU(inplace=True), *([nn.MaxPool2d(2)] if pool else [])]

    class Eighth(nn.Module):
        def forward(self, x: Any) -> Any:
            return x / 8

    def residual(width: int) -> Any:
        return _sum(nn, nn.Sequential(*block(width, width), *block(width, width)), _shortcut(nn, 0, 1))

    return nn.Sequential(
        *(*block(3, 64), *block(64, 128, True), residual(128), *block(128, 256, True), *block(256, 512, True)),
        *(residual(512), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(512, 10, bias=False), Eighth()),
    )
