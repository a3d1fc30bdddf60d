"""The search for the registration settings that meet a latency goal with the highest rate.

goal, space ──▶ search: next candidate ──▶ evaluator: upload_model.py, then rounds of load ──▶ evaluation_log ──▶ search
                       └──▶ finalists again, in turn ──▶ result: NAME.tuned.yaml, page, last upload

Each candidate is registered by a rollout, like an upload by hand, so no client loses a request. The search depends on
the evaluation log alone, so a killed search resumes from it.
"""
