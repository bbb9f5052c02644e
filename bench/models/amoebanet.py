"""AmoebaNet-D (Real et al., arXiv 1802.01548, figure in its appendix D) as GPipe (arXiv 1811.06965) scales it: (L, F).

L normal cells in three groups, between them reduction cells, which halve the resolution and double the channels; F
channels in the first group. Before them one convolution and two more reduction cells, a fourth of the resolution.

A cell has two inputs, the outputs of the two cells before it, so pairs of tensors pass from child to child. It joins
them pairwise, five times, by sums of two operations each:

    state 0, 1: the cells' outputs, as C channels          state 2 + p: first(state i) + second(state j) of pair p

and its output are some of the states, side by side. Channels of the 3x3 and the 1x7, 7x1 convolutions are a fourth.
Which states a normal cell gives on differs between paper and the authors' own program; only the latter gives the
parameter counts that GPipe's table 1 lists, and is taken here.
"""

from collections.abc import Callable

import torch
from torch import nn

Pair = tuple[torch.Tensor, torch.Tensor]
CLASSES = 1_000
NARROWING = 4


def _unit(entering: int, leaving: int, size: int | tuple[int, int] = 1, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, batch normalisation."""
    height, width = (size, size) if isinstance(size, int) else size
    convolution = nn.Conv2d(entering, leaving, (height, width), stride, padding=(height // 2, width // 2), bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(leaving))


class Halving(nn.Module):
    """Half the resolution: two 1x1 convolutions side by side, of the even and of the odd pixels."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(entering, leaving // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(entering, leaving - leaving // 2, 1, stride=2, bias=False)
        self.normalise = nn.BatchNorm2d(leaving)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        value = torch.relu(value)
        shifted = nn.functional.pad(value, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.normalise(torch.cat([self.even(value), self.odd(shifted)], dim=1))


def _pass_on(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else Halving(channels, channels)


def _average_3x3(channels: int, stride: int) -> nn.Module:
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


def _largest_3x3(channels: int, stride: int) -> nn.Module:
    return nn.MaxPool2d(3, stride, padding=1)


def _largest_2x2(channels: int, stride: int) -> nn.Module:
    return nn.MaxPool2d(2, stride)


def _convolve_1x1(channels: int, stride: int) -> nn.Module:
    return _unit(channels, channels, stride=stride)


def _convolve_3x3(channels: int, stride: int) -> nn.Module:
    narrow = channels // NARROWING
    return nn.Sequential(_unit(channels, narrow), _unit(narrow, narrow, 3, stride=stride), _unit(narrow, channels))


def _convolve_1x7_7x1(channels: int, stride: int) -> nn.Module:
    narrow = channels // NARROWING
    return nn.Sequential(
        _unit(channels, narrow),
        _unit(narrow, narrow, (1, 7), stride=stride),
        _unit(narrow, narrow, (7, 1)),
        _unit(narrow, channels),
    )


Operation = Callable[[int, int], nn.Module]
"""(channels, stride) -> the module."""
Node = tuple[int, Operation, int, Operation]
"""First state and its operation, second state and its operation."""

NORMAL: tuple[Node, ...] = (
    (1, _convolve_1x1, 1, _largest_3x3),
    (1, _pass_on, 0, _convolve_1x7_7x1),
    (0, _convolve_1x1, 0, _convolve_1x7_7x1),
    (2, _largest_3x3, 2, _pass_on),
    (1, _average_3x3, 5, _convolve_1x1),
)
NORMAL_OUTPUT = (0, 3, 4, 6)
REDUCTION: tuple[Node, ...] = (
    (0, _largest_2x2, 0, _largest_3x3),
    (2, _pass_on, 1, _convolve_3x3),
    (2, _convolve_1x7_7x1, 2, _largest_3x3),
    (3, _pass_on, 1, _largest_2x2),
    (2, _average_3x3, 3, _convolve_1x1),
)
REDUCTION_OUTPUT = (4, 5, 6)


class Cell(nn.Module):
    """(output of the cell before, of the one before that) -> (own output, output of the cell before).

    Args:
        entering: channels of both inputs.
        channels: of each state.
        reduces: whether it halves the resolution.
        halved: whether the cell before it did, so that its second input is twice as large as the first one.
    """

    def __init__(self, entering: tuple[int, int], channels: int, reduces: bool, halved: bool) -> None:
        super().__init__()
        last, before = entering
        self.first = _unit(last, channels)
        if halved:
            self.second: nn.Module = Halving(before, channels)
        elif before != channels:
            self.second = _unit(before, channels)
        else:
            self.second = nn.Identity()
        nodes, self.output = (REDUCTION, REDUCTION_OUTPUT) if reduces else (NORMAL, NORMAL_OUTPUT)
        self.states = [(first, second) for first, _, second, _ in nodes]
        self.operations = nn.ModuleList(
            operation(channels, 2 if reduces and state < 2 else 1)
            for node in nodes
            for state, operation in (node[:2], node[2:])
        )

    def forward(self, value: Pair) -> Pair:
        last, before = value
        states = [self.first(last), self.second(before)]
        for number, (first, second) in enumerate(self.states):
            left, right = self.operations[2 * number], self.operations[2 * number + 1]
            states.append(left(states[first]) + right(states[second]))
        return torch.cat([states[state] for state in self.output], dim=1), last


class Stem(nn.Module):
    """[n, 3, h, w] -> [n, channels, h/2, w/2], as both inputs of the first cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False)
        self.normalise = nn.BatchNorm2d(channels)

    def forward(self, images: torch.Tensor) -> Pair:
        value = self.normalise(self.convolve(images))
        return value, value


class Classifier(nn.Module):
    """The last cell's output -> logits [n, 1000]."""

    def __init__(self, entering: int) -> None:
        super().__init__()
        self.logits = nn.Linear(entering, CLASSES)

    def forward(self, value: Pair) -> torch.Tensor:
        return self.logits(value[0].mean(dim=(2, 3)))


def amoebanet_d(normal_cells: int, filters: int) -> nn.Sequential:
    """AmoebaNet-D (``normal_cells``, ``filters``): [n, 3, 224, 224] -> logits [n, 1000].

    ``normal_cells`` + 6 children: the first convolution, two reduction cells, then three groups of normal cells with a
    reduction cell between them, the classifier.
    """
    channels = filters // 4
    layers: list[nn.Module] = [Stem(channels)]
    entering, halved = (channels, channels), False
    group = [False] * (normal_cells // 3)
    for reduces in (True, True, *group, True, *group, True, *group):
        channels *= 2 if reduces else 1
        cell = Cell(entering, channels, reduces, halved)
        layers.append(cell)
        entering, halved = (len(cell.output) * channels, entering[0]), reduces
    layers.append(Classifier(entering[0]))
    return nn.Sequential(*layers)
