"""The core without an engine: sampled ids -> regions -> entropies -> weights."""

import torch

from toolrest import (
    Region,
    RegionEntropy,
    TokenBatch,
    Vocabulary,
    get_dialect,
    get_scheme,
    label_tokens,
)

if __name__ == "__main__":
    # The bytes of every token id; Vocabulary.from_tokenizer(tokenizer) reads them elsewhere.
    parts = ["<think>", " Look it", " up.", "</think>", "\n<tool_call>\n", '{"name": "', "get_news"]
    parts += ['", "parameters": ', '{"city": "Ghent"}', "}\n</tool_call>"]
    vocabulary = Vocabulary.from_table([part.encode() for part in parts])
    ids = torch.arange(len(parts)).unsqueeze(0)  # one response, [B=1, T=10]
    mask = torch.ones_like(ids, dtype=torch.bool)  # tokens that the loss counts
    regions = label_tokens(ids, mask, vocabulary, get_dialect("rlla"))

    logits = torch.randn(1, len(parts), 50, generator=torch.Generator().manual_seed(0))
    logits[regions == Region.FORMAT] *= 5  # a policy that is sure of the format
    token_entropy = torch.distributions.Categorical(logits=logits).entropy()  # nats
    entropy = RegionEntropy.measure(token_entropy, regions, mask)

    scheme = get_scheme("rest")
    weights = scheme(TokenBatch(regions, mask, progress=0.3, region_entropy=entropy))
    for part, region, weight in zip(parts, regions[0].tolist(), weights[0].tolist(), strict=True):
        print(f"{Region(region).name:<10} {weight:.2f} {part!r}")
