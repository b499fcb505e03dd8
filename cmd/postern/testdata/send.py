"""Submits standard input by smtplib: send.py MODE HOST PORT CA USER PASSWORD FROM TO"""
import smtplib
import ssl
import sys

mode, host, port, ca, user, password, sender, recipient = sys.argv[1:]
trust = ssl.create_default_context(cafile=ca)
message = sys.stdin.buffer.read()
if mode == "implicit":
    client = smtplib.SMTP_SSL(host, int(port), context=trust)
else:
    client = smtplib.SMTP(host, int(port))
    client.starttls(context=trust)
with client:
    client.login(user, password)
    client.sendmail(sender, [recipient], message, mail_options=["BODY=8BITMIME"])
