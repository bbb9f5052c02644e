"""Seeds derived from the job's one seed, so that no random choice depends on the plan or on a process."""

import hashlib


def derive_seed(seed: int, purpose: str, *position: int) -> int:
    """The first 8 bytes, big-endian, of SHA-256("SEED/PURPOSE/POSITION/..."), shifted right by one: 0 to 2**63 - 1.

    Purposes in use: ``derive_seed(seed, "order", epoch)`` for the order of samples (``runtime.shards``), and
    ``derive_seed(seed, "layer", layer, iteration, micro_batch)`` before each layer's forward pass
    (``runtime.stage_module``).
    """
    text = "/".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
