"""A mail server (Debian's python3-aiosmtpd) that wants STARTTLS and a password, told what to do line by line: {"act": "taken"} gives the mails that came. By its recipients: nobody@ is
unknown, later@ is greylisted, spam@ is refused once its text is there; nosuchdomain@ has no mailbox by the bare code."""
import base64, json, ssl, sys, threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

REFUSALS = {"nobody": "550 5.1.1 no such user here", "later": "451 4.7.1 greylisted, come again", "nosuchdomain": "550 no mailbox here"}
taken, sessions, lock = [], set(), threading.Lock()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        said = REFUSALS.get(address.split("@")[0])
        if said:
            return said
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if any(to.startswith("spam@") for to in envelope.rcpt_tos):
            return "554 5.7.1 looks like spam"
        with lock:
            sessions.add(id(session))
            taken.append({"from": envelope.mail_from, "to": envelope.rcpt_tos, "content": base64.urlsafe_b64encode(envelope.original_content).decode(),
                          "tls": session.ssl is not None, "user": session.auth_data.login.decode() if session.auth_data else None, "session": session.peer[1]})
        return "250 2.0.0 queued as 4Zk"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.login == b"kith" and data.password == b"pass word"
    return AuthResult(success=good, handled=False, auth_data=data)


class WithTls(Controller):
    def factory(self):
        return SMTP(self.handler, tls_context=context, require_starttls=True, auth_required=True, auth_require_tls=True, authenticator=authenticate, hostname="mx.example.org")


class Plain(Controller):  # speaks no STARTTLS at all
    def factory(self):
        return SMTP(self.handler, hostname="mx.example.org")


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
servers = []
for line in sys.stdin:
    args = json.loads(line)
    if args["act"] == "start":
        context.load_cert_chain(args["cert"], args["key"])
        servers = [kind(Handler(), hostname="127.0.0.1", port=port) for kind, port in zip((WithTls, Plain), args["ports"])]
        for server in servers:
            server.start()
        said = {}
    else:
        with lock:
            said, taken = {"mails": taken}, []
    print(json.dumps({"value": said}), flush=True)
for server in servers:
    server.stop()
