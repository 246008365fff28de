"""The named layers that are timed: those of the models, and the kinds of layer that CNNs are made of."""

from dataclasses import dataclass

from fastconv.kernels.geometry import ConvGeometry


@dataclass(frozen=True)
class Conv:
    """A convolution: `batch` maps of `size` x `size` pixels and `channels`, a square kernel, zero padding all round."""

    name: str
    channels: int
    size: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    groups: int = 1
    batch: int = 128

    @property
    def out_size(self) -> int:
        """Height and width of the output."""
        return self.geometry.output_size(self.size, self.size)[0]

    @property
    def geometry(self) -> ConvGeometry:
        """As the backends take it."""
        pads = (self.padding, self.padding)
        return ConvGeometry((self.kernel,) * 2, (self.stride,) * 2, (pads, pads), groups=self.groups)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the input, NHWC."""
        return (self.batch, self.size, self.size, self.channels)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight, HWIO."""
        return (self.kernel, self.kernel, self.channels // self.groups, self.outputs)

    @property
    def flops(self) -> int:
        """Floating-point operations of one pass of the direct algorithm, a multiply-add counted as two."""
        pixels = self.batch * self.out_size**2
        return 2 * pixels * self.outputs * self.kernel**2 * self.channels // self.groups

    @property
    def parameters(self) -> dict[str, int]:
        """Arguments of `fastconv.functional.conv2d`."""
        return {"stride": self.stride, "padding": self.padding, "groups": self.groups}

    @property
    def arrays_bytes(self) -> int:
        """Bytes of input, weight and output in float32, each moved once."""
        weight = self.kernel**2 * self.channels // self.groups * self.outputs
        return 4 * (self.batch * (self.size**2 * self.channels + self.out_size**2 * self.outputs) + weight)


CONVOLUTIONS = (
    Conv("stem_3_64_at_32", 3, 32, 64),
    Conv("64_64_at_32", 64, 32, 64),
    Conv("64_64_at_31", 64, 31, 64),
    Conv("64_64_at_16", 64, 16, 64),
    Conv("64_64_at_15", 64, 15, 64),
    Conv("128_128_at_16", 128, 16, 128),
    Conv("256_256_at_8", 256, 8, 256),
    Conv("512_512_at_4", 512, 4, 512),
    Conv("16_16_at_32", 16, 32, 16),
    Conv("32_32_at_16", 32, 16, 32),
    Conv("64_64_at_8", 64, 8, 64),
    Conv("stride2_64_128_at_32", 64, 32, 128, stride=2),
    Conv("1x1_256_64_at_16", 256, 16, 64, kernel=1, padding=0),
    Conv("5x5_32_64_at_16", 32, 16, 64, kernel=5, padding=2),
    Conv("depthwise_128_at_16", 128, 16, 128, groups=128),
    Conv("valid_32_32_at_32", 32, 32, 32, padding=0),
    Conv("valid_64_64_at_15", 64, 15, 64, padding=0),
    Conv("7x7_stride2_3_64_at_64", 3, 64, 64, kernel=7, stride=2, padding=3, batch=32),
    Conv("96_208_at_13", 96, 13, 208),
    Conv("batch1_64_64_at_32", 64, 32, 64, batch=1),
)

DENSE = ((128, 2304, 512), (128, 512, 10), (2048, 2048, 2048))
"""Batch, inputs, outputs."""

ACTIVATIONS = ((128, 32, 32, 64), (128, 16, 16, 128), (128, 30, 30, 32), (128, 32, 32, 16))
"""Shapes of the activations that pooling, BatchNorm and elementwise operations are timed on."""

MODELS = ("keras_cnn", "resnet20", "resnet9")
