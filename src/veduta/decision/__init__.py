"""The decision: evidence terms, and the models that turn them into confidences."""
