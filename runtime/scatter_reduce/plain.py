"""LambdaML's scatter-reduce (arXiv 2105.07806), one phase after the other. With 3 replicas, what replica 0 does:

    uplink    split 1 ─► r1   split 2 ─► r2                                merged 0 ─► inbox
    downlink                                 split 0 ◄─ r2   split 0 ◄─ r1                   merged 1, merged 2 ◄─ inbox

3s/w - 2s/(nw) + 4·t. Where s/(nw) < t it is faster than the pipelined one by less than a latency per replica.
"""

from concurrent.futures import Future

from runtime.scatter_reduce.pipelined import Pipelined


class Plain(Pipelined):
    def _end_phase(self, uploads: "list[Future[None]]") -> None:
        for upload in uploads:
            upload.result()
