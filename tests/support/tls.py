"""TLS as localhost, with a certificate that the process under test trusts."""

import ssl
from pathlib import Path

import pytest

# For localhost, by itself, and good for a hundred years; made with
# openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 36500
#   -addext subjectAltName=DNS:localhost -addext keyUsage=critical,digitalSignature,keyCertSign
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBOzL3e0wnuC5QPn8
34Wj/nyrYBtDHywdVxVvHb/H8OKhRANCAATpurxm3AYg2Yuo7ZVq2TaN/0lJKGrz
2xKO5Nfzz2O/aXJkmqP6RtmOt5J3h7vVgS+cP0i+ua71HjjgwYqiOOIv
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBpjCCAUugAwIBAgIUb8tih4wgQYS8eN67oB1H2JJYP44wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTEyNDYxMloYDzIxMjYxMDI4
MTI0NjEyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATpurxm3AYg2Yuo7ZVq2TaN/0lJKGrz2xKO5Nfzz2O/aXJkmqP6RtmO
t5J3h7vVgS+cP0i+ua71HjjgwYqiOOIvo3kwdzAdBgNVHQ4EFgQUBAZQD20YdJio
EbeOgHUM3jzVpDwwHwYDVR0jBBgwFoAUBAZQD20YdJioEbeOgHUM3jzVpDwwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwDgYDVR0PAQH/BAQD
AgKEMAoGCCqGSM49BAMCA0kAMEYCIQC7KBM2J3yjAqgWgFPZMZiZdM+8lSE7hqIC
979QjRlsOgIhAKhst9GnEjEPQFC38+jeNuaA6vZ6yYV3wki7b4hfxyFx
-----END CERTIFICATE-----
"""


def localhost(directory: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """What a server needs. Contexts for clients that are made from now on trust it."""
    file = directory / "localhost.pem"
    file.write_text(CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
