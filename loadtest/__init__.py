"""Load from outside, through the gateway's public routes only, and the search for the settings that it likes best.

settings ──target──▶ Target ──inputs / made / mix / environment──▶ Feed ──closed_loop / open_loop──▶ Rounds ──▶ Report
                                                                   (client, generator)                           │
           server (counters before and after), resources, machine ──────────────────────────────────────────────┤
                                                                             terminal, document, html ◀──────────┘
compare: two documents ──▶ verdict               tune: space ──▶ rollout ──▶ rounds ──▶ best, front
"""
