"""Estimators for whole jobs, with scikit-learn's conventions: fit, predict, score, save, load."""
