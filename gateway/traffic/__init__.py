"""Traffic while a version is on trial: shares, the version that answers, and copies of requests.

traffic.json ──▶ splits ──▶ canary ──▶ the version that answers
└──▶ shadow: copies whose answers are compared and dropped
"""
