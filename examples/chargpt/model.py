"""A small GPT (Radford et al., "Improving Language Understanding by Generative Pre-Training", 2018), a chain of layers.

Blocks normalise before attention and before the feed-forward part, as GPT-2 does. Every constructor computes with
shapes only, so a stage can build the layers of others on the meta device for nothing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Embedding(nn.Module):
    """Symbols [samples, time] (int64) to vectors [samples, time, width]: a learned vector per symbol and position."""

    def __init__(self, vocabulary: int, context: int, width: int, dropout: float) -> None:
        super().__init__()
        self.symbol = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, symbols: Tensor) -> Tensor:
        positions = torch.arange(symbols.shape[1], device=symbols.device)
        return self.dropout(self.symbol(symbols) + self.position(positions))


class Block(nn.Module):
    """Causal self-attention and a feed-forward part, each added to its input; [samples, time, width] throughout."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads (width: {width}, heads: {heads})")
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.attention_dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention_dropout(self._attend(self.attention_norm(x)))
        return x + self.feed_forward(x)

    def _attend(self, x: Tensor) -> Tensor:
        samples, time, width = x.shape
        split = self.query_key_value(x).view(samples, time, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.project(mixed.transpose(1, 2).reshape(samples, time, width))


class Head(nn.Module):
    """Vectors [samples, time, width] to scores [samples, vocabulary, time], classes second as cross_entropy wants."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.score = nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.norm(x)).transpose(1, 2)


def gpt(
    vocabulary: int = 128,
    context: int = 64,
    width: int = 96,
    heads: int = 4,
    blocks: int = 6,
    dropout: float = 0.05,
) -> nn.Sequential:
    """An embedding, ``blocks`` blocks and a head.

    Args:
        vocabulary: number of different symbols.
        context: symbols of a sample, at most.
        width: elements of the vector of a symbol; a multiple of ``heads``.
        heads: attention heads of a block.
        blocks: number of blocks.
        dropout: share of elements dropped after the embedding, the attention and the feed-forward part.

    Returns:
        A network of ``blocks + 2`` layers from int64 [samples, time] to scores [samples, vocabulary, time].
    """
    return nn.Sequential(
        Embedding(vocabulary, context, width, dropout),
        *(Block(width, heads, dropout) for _ in range(blocks)),
        Head(vocabulary, width),
    )
