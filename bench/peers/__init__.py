"""Servers that Marina is measured against, each as its user would write it by hand.

    table     one row a peer: title, folder, route, launch, and the wanted ratio
    launch    the commands that start the peers
    packages  a peer's own environment, its size on disk, the lines of its user
    contest   one start of one peer, measured
    comparison  the tables

`pipeline` is the archive's own handler for peers that serve any Python function, `disk` a program that runs in a peer's
environment.
"""
