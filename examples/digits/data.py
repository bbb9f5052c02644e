"""Handwritten digits: the 1,797 images that come with scikit-learn, so nothing is downloaded.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998;
scikit-learn bundles its test part, 8x8 pixels of 17 grey levels each.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HIGHEST_PIXEL = 16.0


def digits(test_fraction: float = 0.2, split_seed: int = 20221205) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The images in a fixed, shuffled split; every digit has the same share in both parts.

    Args:
        test_fraction: share of the images that is held out.
        split_seed: of the split; another seed holds out other images.

    Returns:
        ``{"train": (inputs, targets), "test": (inputs, targets)}``: inputs are float32 [samples, 1, 8, 8] from 0 to 1,
        targets int64 [samples], the digit.
    """
    bunch = load_digits()
    images = (bunch.images[:, None] / HIGHEST_PIXEL).astype(np.float32)
    labels = bunch.target.astype(np.int64)
    # train_test_split also shuffles, so that neighbours of one writer do not share a shard.
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_fraction, random_state=split_seed, stratify=labels
    )
    return {"train": (train_images, train_labels), "test": (test_images, test_labels)}
