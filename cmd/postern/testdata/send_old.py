"""Submits standard input as a device of 2008 does, by TLS 1.0 and RSA keys: send_old.py HOST PORT CA USER PASSWORD FROM TO"""
import smtplib
import ssl
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)
host, port, ca, user, password, sender, recipient = sys.argv[1:]
old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
old.load_verify_locations(ca)
old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1
old.set_ciphers("AES128-SHA:@SECLEVEL=0")
with smtplib.SMTP(host, int(port)) as client:
    client.starttls(context=old)
    print(client.sock.version(), client.sock.cipher()[0])
    client.login(user, password)
    client.sendmail(sender, [recipient], sys.stdin.buffer.read())
