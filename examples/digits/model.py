"""A small convolutional network for 8x8 grey images, as a chain of layers that a plan may cut anywhere."""

from torch import nn

CLASSES = 10


def convolutional_network(width: int = 16, dropout: float = 0.25) -> nn.Sequential:
    """Three convolutions, two poolings and a linear classifier.

    Args:
        width: channels of the first convolution; the others have twice and four times as many.
        dropout: share of the features that is dropped before the classifier.

    Returns:
        A network from [samples, 1, 8, 8] to [samples, 10] class scores.
    """
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 4 * width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * width * 2 * 2, CLASSES),
    )
