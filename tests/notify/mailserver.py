"""A mail server on this machine, which speaks SMTP with STARTTLS or TLS and signs in, and can be told to misbehave."""

from __future__ import annotations

import asyncio
import datetime
import email
import email.policy
import ssl
from contextlib import asynccontextmanager
from ipaddress import ip_address

from aiosmtpd.smtp import SMTP, AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chatbox.notify.email import MailServer

USER, PASSWORD = "chat", "Kq7vR2mZ9xTn"


def certificates(folder):
    """A key and a certificate of its own for this machine: file names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "mail.pem", folder / "mail.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


class MailBox:
    """What the server has taken, and what it answers. ``refuse`` says by address what RCPT is answered with; ``stall``,
    ``reset`` name a command at which it says nothing more, or cuts the line (``DATA-END``: when all has been read, kept
    and not acknowledged)."""

    def __init__(self):
        self.mails = []
        self.to = []
        self.refuse = {}
        self.stall = set()
        self.reset = set()
        self.data_answer = "250 OK"
        self.sessions = 0
        self.secure = []
        self.came = asyncio.Event()

    async def misbehave(self, server, command):
        if command in self.reset:
            server.transport.abort()
            await asyncio.sleep(3600)
        if command in self.stall:
            await asyncio.sleep(3600)

    async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802 - the library calls it so
        self.sessions += 1
        await self.misbehave(server, "EHLO")
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802 - the library calls it so
        await self.misbehave(server, "RCPT")
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the library calls it so
        await self.misbehave(server, "DATA")
        if self.data_answer.startswith("250"):
            self.mails.append(email.message_from_bytes(envelope.original_content, policy=email.policy.default))
            self.to.append(list(envelope.rcpt_tos))
            self.secure.append(session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None)
            self.came.set()
        await self.misbehave(server, "DATA-END")
        return self.data_answer

    async def arrived(self, count=1, patience=60):
        """Wait until so many mails have come."""
        async with asyncio.timeout(patience):
            while len(self.mails) < count:
                self.came.clear()
                await self.came.wait()
        return self.mails

    async def handle_QUIT(self, server, session, envelope):  # noqa: N802 - the library calls it so
        await self.misbehave(server, "QUIT")
        return "221 Bye"


def sign_in(server, session, envelope, mechanism, data):
    right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=right)


@asynccontextmanager
async def mail_server(folder, *, security="starttls", box=None, port=0, auth=True, ascii_only=False):
    """A mail server in this loop: its box, and where it is."""
    box = box or MailBox()
    pem, secret = folder / "mail.pem", folder / "mail.key"
    if not pem.exists():
        certificates(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, secret)
    signing = {"auth_required": True, "auth_require_tls": security == "starttls", "authenticator": sign_in}
    starting = {"tls_context": context, "require_starttls": True} if security == "starttls" else {}

    def protocol():
        return SMTP(
            box, enable_SMTPUTF8=not ascii_only, hostname="mail.example.com", **(signing if auth else {}), **starting
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context if security == "tls" else None)
    try:
        yield (
            box,
            MailServer(
                host="127.0.0.1",
                port=server.sockets[0].getsockname()[1],
                security=security,
                user=USER if auth else "",
                password=PASSWORD if auth else "",
            ),
        )
    finally:
        server.close()


def trusting(folder):
    """A context that trusts the server's own certificate."""
    return ssl.create_default_context(cafile=str(folder / "mail.pem"))
