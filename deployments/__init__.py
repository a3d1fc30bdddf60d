"""The files in the state folder that say what should serve. Delivery writes them; gateway and edge follow them.

serving.py   serving.json        which version of each model serves, and which ones served before
traffic.py   traffic.json        which share of the requests a version on trial gets
             live/MODEL.json     which versions of a model may answer
"""
