"""TorchServe 0.12 over its Inference and Management API, and whatever else speaks them.

engine       the way to each host, and what is true of TorchServe alone
dialect      predictions, for the gateway's hot path     verdicts   what its refusals mean to a client
reader       descriptions, for the gateway               key_ring   keys as they change, for the gateway
management   rollouts, which may block                   calls      one call, with the keys
drain        when a version has answered everything      workers    which worker answers
paths        every path and query                        entries    every description that is read
key_file     the three keys                              keys       the same for who may block
"""
