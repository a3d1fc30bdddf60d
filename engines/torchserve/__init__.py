"""Client of TorchServe's two HTTP interfaces, which every engine answers.

api               paths, queries, descriptions
auth              key file, tokens, renewal
engine_client     EngineClient: register, scale, warm, predict, switch, drain, unregister
drain             reaches every worker, by process id
error_responses   error response → RequestError
unpacked          the engine's own copy of an archive
"""
