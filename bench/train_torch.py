# The step of bench/train.c in PyTorch: prints tokens per second, or one line that says why not.
# Usage: train_torch.py CONFIG THREADS
import sys
import time

try:
    import torch
except ImportError:
    print("PyTorch is not installed (Debian: python3-torch), so it is not compared")
    sys.exit(0)
import torch.nn as nn
import torch.nn.functional as F

CONFIGS = {"a": (4, 128, 4, 256, 8, 256), "b": (8, 256, 4, 256, 8, 256),
           "c": (2, 768, 12, 256, 4, 50257), "d": (32, 64, 2, 128, 8, 256)}
layers, width, heads, seq, batch, vocab = CONFIGS[sys.argv[1]]
torch.set_num_threads(int(sys.argv[2]))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.register_buffer("mask", torch.full((seq, seq), float("-inf")).triu(1), persistent=False)

    def forward(self, x):
        q, k, v = self.qkv(self.ln1(x)).split(width, dim=2)
        q, k, v = (t.view(-1, seq, heads, width // heads).transpose(1, 2) for t in (q, k, v))
        if hasattr(F, "scaled_dot_product_attention"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = ((q @ k.transpose(2, 3)) * (width // heads) ** -0.5 + self.mask).softmax(3) @ v
        x = x + self.out(y.transpose(1, 2).reshape(-1, seq, width))
        try:
            h = F.gelu(self.up(self.ln2(x)), approximate="tanh")
        except TypeError:
            h = F.gelu(self.up(self.ln2(x)))
        return x + self.down(h)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(seq, width)
        self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
        self.lnf = nn.LayerNorm(width)

    def forward(self, ids, targets):
        x = self.wte(ids) + self.wpe.weight
        logits = F.linear(self.lnf(self.blocks(x)), self.wte.weight)
        return F.cross_entropy(logits.view(-1, vocab), targets.view(-1))


model = Model()
adamw = torch.optim.AdamW(model.parameters(), lr=1e-4)
ids = torch.randint(vocab, (batch, seq + 1))


def step():
    adamw.zero_grad(set_to_none=True)
    model(ids[:, :-1], ids[:, 1:]).backward()
    adamw.step()


step()
rates = []
for _ in range(7):
    start, steps = time.perf_counter(), 0
    while steps == 0 or time.perf_counter() - start < 0.3:
        step()
        steps += 1
    rates.append(steps * batch * seq / (time.perf_counter() - start))
print(sorted(rates)[3])
