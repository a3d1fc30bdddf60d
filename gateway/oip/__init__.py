"""The Open Inference Protocol (KServe v2, with Triton's extensions), over REST under /v2 and over gRPC.

    rest ─ compression ─ json_codec ──────────┐                                             ┌── json_codec ──▶
                                              ├─▶ InferRequest ─▶ inference ─▶ InferResponse ┤
    grpc_server ─ grpc_servicer ─ grpc_codec ─┘        │               │                     └── grpc_codec ──▶
                                       tensor_metadata, datatypes   pipeline (business logic, engine)

The model card gives a model its tensors (`tensor_metadata`), so that its metadata is enough to build a request; a new
kind of model adds a case to `inputs_of`. Tensors may be in `shared_memory`.
"""
