"""What lies on disk under the root directory: paths, pointers, logs, locks and retention."""
