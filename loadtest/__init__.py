"""Load from outside, through the gateway's public routes only, and the search for the best settings under it.

settings ──▶ target ──▶ plan (inputs) ──▶ feed ──▶ loops ──▶ rounds ──▶ report ──▶ terminal, report_files, pages
                                          └ load_client          ▲
                        server_metrics, resources: before, during and after
compare: two reports ──▶ round_stats           tune: candidate ──▶ rollout ──▶ rounds ──▶ best candidate
"""
