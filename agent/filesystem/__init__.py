"""The few file operations that must not be got wrong: durable writes, whole-file-system syncs, locks."""
