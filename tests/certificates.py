"""TLS of local servers in tests: a certificate for 127.0.0.1 that is valid for a hundred years and that nobody trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "data" / "mail_server.pem"


def server_tls() -> ssl.SSLContext:
    """Return the settings of a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def trusting_tls() -> ssl.SSLContext:
    """Return the settings of a client that trusts the certificate."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))
