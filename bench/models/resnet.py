"""ResNet-101 for images of 1,000 classes (He et al., arXiv 1512.03385, table 1), a child per residual block.

35 children: what stands before the blocks, 33 bottleneck blocks, what stands behind them. 44,549,160 parameters, as
published. The stride of a block that halves the resolution is in its 3x3 convolution, as in most implementations since.
"""

import torch
from torch import nn

BLOCKS = (3, 4, 23, 3)
"""Of each of the four groups."""
WIDTH = 64
EXPANSION = 4
CLASSES = 1_000


def _convolution(entering: int, leaving: int, size: int = 1, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(entering, leaving, size, stride, size // 2, bias=False), nn.BatchNorm2d(leaving)]


class Bottleneck(nn.Module):
    """[n, entering, h, w] -> [n, 4·width, h/stride, w/stride]."""

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        leaving = EXPANSION * width
        self.residual = nn.Sequential(
            *_convolution(entering, width),
            nn.ReLU(inplace=True),
            *_convolution(width, width, size=3, stride=stride),
            nn.ReLU(inplace=True),
            *_convolution(width, leaving),
        )
        same = entering == leaving and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(entering, leaving, stride=stride))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return torch.relu_(self.residual(value) + self.shortcut(value))


def resnet101() -> nn.Sequential:
    """[n, 3, 224, 224] -> logits [n, 1000]."""
    layers: list[nn.Module] = [
        nn.Sequential(*_convolution(3, WIDTH, size=7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
    ]
    entering = WIDTH
    for group, blocks in enumerate(BLOCKS):
        width = WIDTH << group
        for block in range(blocks):
            layers.append(Bottleneck(entering, width, stride=2 if group and not block else 1))
            entering = EXPANSION * width
    layers.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, CLASSES)))
    return nn.Sequential(*layers)
