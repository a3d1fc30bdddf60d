"""Client of TorchServe's two HTTP interfaces, which every engine answers.

api               paths, queries, descriptions
auth              key file, tokens, renewal
engine_client     EngineClient: register, scale, warm, predict, switch, drain, unregister
drain             reaches every worker, by process id
room              room for archives on a host
process           the first process of TorchServe, which ends it in good order
error_responses   error response → RequestError
unpacked          the engine's own copy of an archive
"""
