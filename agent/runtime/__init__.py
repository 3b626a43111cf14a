"""From settings to objects: layout, options, connections, credentials, logs; every process uses it."""
