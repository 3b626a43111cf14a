"""From the envelope that the service sends to a payload that may be acted upon; nobody else makes one."""
