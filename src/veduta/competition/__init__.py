"""Kaggle and GLDv2 files in, submissions and reports out."""
