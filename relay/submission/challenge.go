package submission

import "time"

// challenged is a mechanism that the Gateway speaks itself: SCRAM-SHA-256 or
// CRAM-MD5.
type challenged struct {
	*exchange
	begun Challenge // nil before the first step
}

func (c *challenged) Next(response []byte) (challenge []byte, done bool, err error) {
	began := time.Now()
	if c.begun == nil {
		s := c.session
		if c.begun, err = s.server.gateway.Challenge(s.guard.ctx, c.client(), c.mechanism); err != nil {
			return nil, false, err
		}
	}
	challenge, done, err = c.begun.Next(response)
	switch {
	case err != nil:
		challenge = nil // nobody explains
	case done:
		c.identity = c.begun.Identity()
	}
	if err != nil || done {
		c.session.server.observe("auth", began, "")
	}
	return challenge, done, err
}
