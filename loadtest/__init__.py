"""Load from outside, through the gateway's public routes only.

settings ──target──▶ Target ──inputs / made──▶ Samples ──closed_loop──▶ Rounds ──▶ Report ──▶ terminal, document
                                                  (client)                        (summary, advice)
"""
