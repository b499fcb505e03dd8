# Reads a report as a program that collects them does, and prints what it says.
import email
import email.policy
import json
import sys

message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert not message.defects, message.defects
words, status, original = message.iter_parts()
about, *recipients = status.get_payload()
print(json.dumps({
    "type": message.get_content_type(),
    "report_type": message.get_param("report-type"),
    "auto_submitted": message["Auto-Submitted"],
    "from": message["From"].addresses[0].addr_spec,
    "to": message["To"].addresses[0].addr_spec,
    "words": words.get_content(),
    "about": dict(about.items()),
    "recipients": [dict(r.items()) for r in recipients],
    "original": original.get_content_type(),
    "subject": original.get_payload(0)["Subject"] if original.get_content_type() == "message/rfc822"
               else email.message_from_string(original.get_content() if isinstance(original.get_content(), str)
                                              else original.get_content().decode())["Subject"],
}))
