"""Random samples in the form of ImageNet and of sentence pairs: what a plan depends on is their size."""

import torch

SAMPLES = 512
Split = dict[str, tuple[torch.Tensor, torch.Tensor]]


def images(side: int = 224, classes: int = 1_000) -> Split:
    """[512, 3, side, side] in [0, 1), and a class each."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(SAMPLES, 3, side, side, generator=generator)
    return {"train": (inputs, torch.randint(classes, (SAMPLES,), generator=generator))}


def sentences(tokens: int, vocabulary: int = 30_522) -> Split:
    """[512, 2, tokens]: numbers of tokens, and of the half that they are in; whether the second half follows."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(vocabulary, (SAMPLES, tokens), generator=generator)
    halves = (torch.arange(tokens) >= tokens // 2).long().expand(SAMPLES, tokens)
    follows = torch.randint(2, (SAMPLES,), generator=generator)
    return {"train": (torch.stack([words, halves], dim=1), follows)}
