"""The Open Inference Protocol (KServe v2, with Triton's extensions), over REST under /v2 and over gRPC.

    rest, infer_endpoint ──json_wire──┐                                                   ┌──json_wire──▶
                                      ├─▶ InferRequest ─▶ inference ─▶ InferResponse ─────┤
    grpc_server, servicer ─grpc_wire──┘        │              │                           └──grpc_wire──▶
                                           signature       pipeline (business logic, engine)

The model card gives a model its tensors (`signature`), so that its metadata is enough to build a request.
"""
