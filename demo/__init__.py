"""The two demo models: trained offline from data of scikit-learn and Gymnasium, and called through the gateway.

    digits, cartpole ──train──▶ checkpoints      predict ──▶ gateway of the running stack

`digits` and `predict` import no torch.
"""
