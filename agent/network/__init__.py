"""HTTP with proxies and certificates, request signing, and errors that say what to do; knows no service."""
