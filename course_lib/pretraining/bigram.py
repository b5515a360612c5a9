"""The smallest language model that has gradients: the next token from this one, and from nothing else."""

from torch import Tensor, nn

from course_lib.attention._arguments import require_ids


class BigramLM(nn.Module):
    """A vector for each token and a linear layer that reads the next token off it: ids [B, T] give logits [B, T, V].

    No attention and no positions, so what comes out at a place depends on the token there alone. It holds the counts of
    a bigram table in vocab * width numbers and serves where the model must not matter. ValueError for ids that are no
    tensor of integers below `vocab`.

    >>> import torch
    >>> model = BigramLM(5, 3)
    >>> model(torch.tensor([[4, 0]])).shape, [name for name, _ in model.named_parameters()]
    (torch.Size([1, 2, 5]), ['embedding.weight', 'head.weight', 'head.bias'])
    """

    def __init__(self, vocab: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.head = nn.Linear(width, vocab)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embedding(require_ids("ids", ids, self.embedding.num_embeddings)))
