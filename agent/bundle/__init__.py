"""From a bundle to an unpacked revision: local folders and archives, unpacked so that nothing escapes."""
