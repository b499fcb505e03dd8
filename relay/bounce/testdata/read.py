# Reads reports, each after a line with its length, and prints for each its action
# and how many recipients it has. Whatever is not as RFC 3464 says is an error.
import email
import email.policy
import sys

while length := sys.stdin.buffer.readline():
    message = email.message_from_bytes(sys.stdin.buffer.read(int(length)), policy=email.policy.default)
    assert message.get_content_type() == "multipart/report", message.get_content_type()
    assert message["X-Injected"] is None
    parts = list(message.iter_parts())
    assert 2 <= len(parts) <= 3, len(parts)
    for part in message.walk():
        assert not part.defects, (part.get_content_type(), part.defects)
    assert parts[0].get_content_type() == "text/plain"
    assert parts[0].get_content()
    assert parts[1].get_content_type() == "message/delivery-status"
    blocks = parts[1].get_payload()
    assert blocks[0]["Reporting-MTA"].startswith("dns; ")
    actions = set()
    for block in blocks[1:]:
        assert block["Final-Recipient"] and block["Status"], block.as_string()
        assert block["X-Injected"] is None
        actions.add(block["Action"])
    assert len(actions) == 1, actions
    print(actions.pop(), len(blocks) - 1)
