"""The cost of a request in each part of the stack, and the number of machines that a load needs.

    measure   one, two and three engines on this machine ──▶ costs.json, tables in docs/scale.md
    plan      costs.json + a rate ──▶ processors, memory, network, machines, and the limits in order

`processors` reads and limits the processor time of each part, `workloads` are the kinds of requests, `measure` puts
them on the stacks, `costs` is the file between the two commands, `forecast` predicts rates and plans,
`capacity_tables` prints both.
"""
