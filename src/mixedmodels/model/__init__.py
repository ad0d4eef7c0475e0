"""The fitted model: fitting, results, predictions, storage."""
