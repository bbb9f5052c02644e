"""The sum of a stage's gradients over its replicas, through storage: one module per algorithm of ``Algorithm``."""
