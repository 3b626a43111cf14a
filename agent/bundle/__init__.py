"""From a bundle to an unpacked revision: local directories and archives, unpacked so that nothing escapes."""
