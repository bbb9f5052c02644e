"""A small convolutional network for 8x8 grey images, as a chain of blocks that a plan may cut between.

Every block has parameters: wherever a plan cuts, each stage has something to train, and its replicas to average.
"""

from torch import nn

CLASSES = 10


class Convolution(nn.Sequential):
    """3x3 convolution and ReLU; with ``pool`` also halves the image's sides."""

    def __init__(self, channels: int, out_channels: int, pool: bool) -> None:
        super().__init__(nn.Conv2d(channels, out_channels, kernel_size=3, padding=1), nn.ReLU())
        if pool:
            self.append(nn.MaxPool2d(2))


class Hidden(nn.Sequential):
    """Images to vectors of ``width`` elements."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(features, width), nn.ReLU())


class Classifier(nn.Sequential):
    """Vectors to a score per class."""

    def __init__(self, features: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(features, CLASSES))


def convolutional_network(width: int = 32, hidden: int = 64, dropout: float = 0.4) -> nn.Sequential:
    """Three convolutions, a hidden layer and a classifier.

    Args:
        width: channels of the first convolution; the others have twice and four times as many.
        hidden: elements of the hidden layer.
        dropout: share of the hidden layer's elements that the classifier does not see in training.

    Returns:
        A network of 5 layers from [samples, 1, 8, 8] to [samples, 10] class scores.
    """
    return nn.Sequential(
        Convolution(1, width, pool=False),
        Convolution(width, 2 * width, pool=True),
        Convolution(2 * width, 4 * width, pool=True),
        Hidden(4 * width * 2 * 2, hidden),
        Classifier(hidden, dropout),
    )
