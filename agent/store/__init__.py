"""What lies on disk under the root folder: paths, pointers, logs, locks and retention."""
