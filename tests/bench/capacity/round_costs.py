"""Costs with round figures, so that their consequences can be worked out by heart."""

from bench.capacity.costs import Cost, Costs, Line, Prediction

PICTURE = Cost(
    title="pictures", model="digits", request_bytes=200_000, answer_bytes=500, inside_bytes=210_000, gateway_s=0.0005,
    frontend_s=0.001, worker_s=0.009, client_s=0.0005, worker_mb=300, calm_ms=20, rate=90,
)  # fmt: skip
STATE = Cost(
    title="states", model="cartpole", request_bytes=250, answer_bytes=250, inside_bytes=200, gateway_s=0.00005,
    frontend_s=0.00001, worker_s=0.00001, client_s=0.00003, worker_mb=200, calm_ms=5, rate=15_000,
)  # fmt: skip
COSTS = Costs(
    heading="by heart", quota="each engine is held to 0.4 cores", cores=2,
    workloads={"pictures": PICTURE, "cartpole": STATE},
    checks=(Prediction("pictures", 2, 0.4, "engines", 80.0, (78.0, 80.0, 100.0), 0.39),
            Prediction("cartpole", 1, 0.4, "gateway", 11_000.0, (10_000.0,), 0.2)),
    looking=Line(0.01, 0.001), rollout=Line(10.0, 9.0), gateway_series=Line(200.0, 4.0), engine_series=100.0,
    engine_rest=0.02,
    gateway_mb=100.0, frontend_mb=400.0, archive_mb=6.0, edge_s=0.000007,
)  # fmt: skip
