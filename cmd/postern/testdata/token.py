"""Submits standard input by smtplib with a token: token.py MECHANISM HOST PORT CA USER TOKEN FROM TO"""
import smtplib
import ssl
import sys

mechanism, host, port, ca, user, token, sender, recipient = sys.argv[1:]
response = {
    "XOAUTH2": f"user={user}\x01auth=Bearer {token}\x01\x01",
    "OAUTHBEARER": f"n,a={user},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01",
}[mechanism]
message = sys.stdin.buffer.read()
with smtplib.SMTP(host, int(port)) as client:
    client.starttls(context=ssl.create_default_context(cafile=ca))
    client.ehlo()
    client.auth(mechanism, lambda challenge=None: response if challenge is None else "")
    client.sendmail(sender, [recipient], message, mail_options=["BODY=8BITMIME"])
