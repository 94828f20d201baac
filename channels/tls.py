"""Whom a connection trusts, and what is wrong with a certificate that does not check out."""

from __future__ import annotations

import ssl

import certifi

_BAD_CERTIFICATES = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by nobody but itself",
    19: "it is signed by an authority that is not trusted here",
    20: "it is signed by an authority that is not trusted here",
    21: "it is signed by an authority that is not trusted here",
    62: "it belongs to another name",
    64: "it belongs to another address",
}
"""OpenSSL's X509_V_ERR codes in words that are the same with every version of it (openssl-verification-options)."""


def tls_context() -> ssl.SSLContext:
    """Certificates are checked against certifi's roots, and the machine's own (where a company adds its own).

    Takes some 40 ms: make one and share it.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context


def certificate_problem(error: ssl.SSLCertVerificationError) -> str:
    """What is wrong with the other side's certificate: half a sentence for a person."""
    return _BAD_CERTIFICATES.get(error.verify_code, error.verify_message[:120])
