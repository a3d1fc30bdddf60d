"""The two demo models: trained offline from what scikit-learn and Gymnasium bring, and asked through the gateway.

    digits, cartpole ──train──▶ checkpoints      predict ──▶ gateway of the running stack

`digits` and `predict` import no torch.
"""
