"""The doctor: tests the running deployment for known holes of the archived engine, and for risks in its operation.

    Deployment ─▶ checks, a small function for each hole ─▶ Finding ─▶ table or JSON

A check sends harmless requests and changes nothing. To add one, write a function and add it to the checks of its file.
"""
