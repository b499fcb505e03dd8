"""A client of mail providers that knows nothing of Postern: smtplib and urllib.

It reads one request a line, as JSON, and answers each with a line:

{"kind": "smtp", "address": ..., "ca": ..., "mechanism": ..., "user": ..., "secret":
..., "from": ..., "to": [...], "message": ..., "count": 1} with {"said": [[step,
code, text], ...]}, and {"kind": "http", "url": ..., "ca": ..., "method": ...,
"headers": {}, "body": ...} with {"status": ..., "headers": {}, "body": ...}. Where
the connection broke there is an "error".
"""
import base64
import json
import smtplib
import ssl
import sys
import urllib.error
import urllib.request


def log_in(s, a, say):
    mechanism, user, secret = a["mechanism"], a["user"], a["secret"]
    if mechanism == "LOGIN":
        s.user, s.password = user, secret
        return s.auth("LOGIN", s.auth_login)
    if mechanism == "PLAIN":
        s.user, s.password = user, secret
        return s.auth("PLAIN", s.auth_plain)
    if mechanism == "XOAUTH2":
        response = f"user={user}\x01auth=Bearer {secret}\x01\x01"
    else:
        response = f"n,a={user},\x01auth=Bearer {secret}\x01\x01"
    encoded = base64.b64encode(response.encode()).decode()
    if a.get("two_steps"):
        say("prompt", s.docmd("AUTH", mechanism))
        reply = s.docmd(encoded)
    else:
        reply = s.docmd("AUTH", f"{mechanism} {encoded}")
    if reply[0] == 334:
        say("challenge", (334, base64.b64decode(reply[1])))
        reply = s.docmd("" if mechanism == "XOAUTH2" else "AQ==")
    return reply


def smtp(a, answer):
    said = answer["said"] = []

    def say(step, reply):
        said.append([step, reply[0], reply[1].decode()])
        return reply[0]

    host, port = a["address"].split(":")
    context = ssl.create_default_context(cafile=a["ca"])
    if a.get("implicit"):
        s = smtplib.SMTP_SSL(host, int(port), context=context, timeout=60)
    else:
        s = smtplib.SMTP(host, int(port), timeout=60)
        say("ehlo", s.ehlo("client.example.com"))
        s.starttls(context=context)
    say("ehlo tls", s.ehlo("client.example.com"))
    if a.get("mechanism"):
        try:
            reply = log_in(s, a, say)
        except smtplib.SMTPAuthenticationError as e:
            reply = (e.smtp_code, e.smtp_error)
        if say("auth", reply) != 235:
            return
    for _ in range(a.get("count", 1)):
        if say("mail", s.mail(a["from"], a.get("options", []))) >= 400:
            continue
        for to in a["to"]:
            say("rcpt", s.rcpt(to))
        try:
            say("end", s.data(a["message"].encode()))
        except smtplib.SMTPDataError as e:
            say("data", (e.smtp_code, e.smtp_error))
    s.quit()


def http(a, answer):
    body = a.get("body")
    request = urllib.request.Request(a["url"], data=None if body is None else body.encode(),
                                     headers=a.get("headers") or {}, method=a.get("method", "GET"))

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args):
            return None

    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=a["ca"])), Stay)
    try:
        reply = opener.open(request, timeout=60)
    except urllib.error.HTTPError as e:
        reply = e
    answer.update(status=reply.status, headers=dict(reply.headers), body=reply.read().decode())


for line in sys.stdin:
    request, answer = json.loads(line), {}
    try:
        {"smtp": smtp, "http": http}[request["kind"]](request, answer)
    except Exception as e:
        answer["error"] = repr(e)
    print(json.dumps(answer), flush=True)
