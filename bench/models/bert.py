"""BERT-Large (Devlin et al., arXiv 1810.04805) with its next-sentence head, a child per encoder layer.

26 children: embeddings, 24 encoder layers, head. 335,143,938 parameters: 335,141,888 without the classifier, as
published ("340M"). Sentences are of full length here, so nothing is masked out of the attention.
"""

import torch
from torch import nn
from torch.nn import functional

LAYERS, WIDTH, HEADS, INNER = 24, 1_024, 16, 4_096
VOCABULARY, POSITIONS, SEGMENTS = 30_522, 512, 2
DROPOUT = 0.1
EPSILON = 1e-12
SPREAD = 0.02
"""Standard deviation of initial weights."""


class Embeddings(nn.Module):
    """[n, 2, tokens] of token and segment numbers -> [n, tokens, width]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.segments = nn.Embedding(SEGMENTS, WIDTH)
        self.normalise = nn.LayerNorm(WIDTH, EPSILON)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, sentences: torch.Tensor) -> torch.Tensor:
        tokens, segments = sentences.unbind(dim=1)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        summed = self.tokens(tokens) + self.segments(segments) + self.positions(positions)
        return self.drop(self.normalise(summed))


class EncoderLayer(nn.Module):
    """[n, tokens, width] -> the same: attention and two dense layers, each with a residual and normalised behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.normalise_attended = nn.LayerNorm(WIDTH, EPSILON)
        self.inner = nn.Linear(WIDTH, INNER)
        self.outer = nn.Linear(INNER, WIDTH)
        self.normalise_outer = nn.LayerNorm(WIDTH, EPSILON)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        samples, tokens, _ = value.shape
        heads = self.queries_keys_values(value).view(samples, tokens, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)
        dropped = DROPOUT if self.training else 0.0
        attended = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropped)
        attended = self.attended(attended.transpose(1, 2).reshape(samples, tokens, WIDTH))
        value = self.normalise_attended(value + self.drop(attended))
        outer = self.outer(functional.gelu(self.inner(value)))
        return self.normalise_outer(value + self.drop(outer))


class NextSentence(nn.Module):
    """[n, tokens, width] -> logits [n, 2], from the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(DROPOUT)
        self.logits = nn.Linear(WIDTH, 2)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return self.logits(self.drop(torch.tanh(self.pool(value[:, 0]))))


def bert_large() -> nn.Sequential:
    """[n, 2, tokens] -> logits [n, 2]."""
    model = nn.Sequential(Embeddings(), *(EncoderLayer() for _ in range(LAYERS)), NextSentence())
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=SPREAD)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    return model
