"""What a request costs each part, and how many machines a load needs.

    measure   one, two and three engines on this machine ──▶ costs.json, tables in docs/scale.md
    plan      costs.json + a rate ──▶ processors, memory, network, machines, and what breaks first

`parts` reads what each process used, `look` puts the load on one stack, `measure` on all; `costs` is the file between
the two, `model` predicts, `limits` and `plan` extrapolate, `tables` words all of it.
"""
