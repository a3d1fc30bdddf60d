"""The files in the state folder that record which versions serve. Delivery writes them; gateway and edge read them.

serving.py   serving.json        the version of each model that serves, and its predecessors
traffic.py   traffic.json        the share of the requests that a version on trial gets
             live/MODEL.json     the versions of a model that may answer
"""
