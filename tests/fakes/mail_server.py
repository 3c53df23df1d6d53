"""A mail server that keeps what it takes: SMTP with STARTTLS and AUTH PLAIN, on real sockets.

with MailServer() as server: ... server.port, server.mails; `server.refuse_next` refuses that many
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Mail:
    """One message as it was taken."""

    sender: str
    to: list[str]
    message: Message
    encrypted: bool
    login: str | None


@dataclass
class _Talk:
    """What the client has said so far."""

    sender: str = ""
    to: list[str] = field(default_factory=list[str])
    encrypted: bool = False
    login: str | None = None
    ended: bool = False


class MailServer:
    """On a free port of the loopback; with a `certificate` it offers STARTTLS.

    `encrypted` wants TLS from the first byte instead.
    """

    def __init__(self, certificate: Path | None = None, *, encrypted: bool = False) -> None:
        self.encrypted = encrypted
        self.mails: list[Mail] = []
        self.refuse_next = 0
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self._server = socketserver.ThreadingTCPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def write_certificate(path: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1, signed by itself; return the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


class _Handler(socketserver.StreamRequestHandler):
    owner: ClassVar[MailServer]

    def handle(self) -> None:
        talk = _Talk()
        if self.owner.encrypted:
            self._wrap(talk)
        self._say("220 fake ready")
        while not talk.ended and (line := self.rfile.readline()):
            verb, _, rest = line.decode().strip().partition(" ")
            if verb.upper() == "QUIT":
                self._say("221 bye")
                return
            self._answer(verb.upper(), rest, talk)

    def _answer(self, verb: str, rest: str, talk: _Talk) -> None:
        match verb:
            case "EHLO" | "HELO":
                offers = [] if self.owner.context is None or talk.encrypted else ["STARTTLS"]
                lines = ["fake", *offers, "AUTH PLAIN"]
                for name in lines[:-1]:
                    self._say(f"250-{name}")
                self._say(f"250 {lines[-1]}")
            case "STARTTLS":
                self._encrypt(talk)
            case "AUTH":
                talk.login = base64.b64decode(rest.split()[-1]).decode().replace("\0", ":")
                self._say("235 in" if talk.login.endswith(":right") else "535 wrong password")
            case "MAIL":
                talk.sender, talk.to = rest.partition(":")[2].split()[0].strip("<>"), []
                self._say("250 ok")
            case "RCPT":
                talk.to.append(rest.partition(":")[2].split()[0].strip("<>"))
                self._say("250 ok")
            case "DATA":
                self._take(talk)
            case _:
                self._say("250 ok")

    def _encrypt(self, talk: _Talk) -> None:
        self._say("220 go ahead")
        self._wrap(talk)

    def _wrap(self, talk: _Talk) -> None:
        assert self.owner.context is not None
        try:
            self.request = self.owner.context.wrap_socket(self.request, server_side=True)
        except OSError:  # the client does not believe the certificate
            talk.ended = True
            return
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
        talk.encrypted = True

    def _take(self, talk: _Talk) -> None:
        self._say("354 go on")
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line)
        if self.owner.refuse_next:
            self.owner.refuse_next -= 1
            self._say("451 come again")
            return
        message = message_from_bytes(b"".join(lines))
        self.owner.mails.append(Mail(talk.sender, talk.to, message, talk.encrypted, talk.login))
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")

    def finish(self) -> None:
        """Close what STARTTLS put around the socket, too."""
        self.request.close()
