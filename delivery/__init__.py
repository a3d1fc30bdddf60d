"""The management side: archives into a store, versions into the engine.

model_mars/NAME.mar ──stores──▶ URL ──management──▶ registered, workers up ──golden──▶ checked ──▶ switched to,
                                                                                old version drained and removed
"""
