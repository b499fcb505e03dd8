package smtpd

import (
	"io"

	"postern/cmd/provider-sim/world"
)

// trouble has go wrong what is to go wrong at this step: the session ends with the
// error, or there is a reply instead of the usual one.
func (s *Session) trouble(at string) (instead string, err error) {
	f := s.World.Fault(s.server.Provider.Name(), at)
	if f == nil {
		return "", nil
	}
	return f.Reply, s.fail(f)
}

// fail has f happen.
func (s *Session) fail(f *world.Fault) error {
	switch {
	case f.Down:
		s.wire.Abort()
		return errEnd
	case f.Cut != nil:
		s.wire.Cut(*f.Cut)
		if f.Cut.Octets == 0 {
			return errEnd
		}
	case f.Hang:
		io.Copy(io.Discard, s.conn)
		return errEnd
	}
	return nil
}
