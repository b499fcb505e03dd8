package rewrite

// recoder writes quoted-printable as base64, read as mail programs read it
// (RFC 2045, section 6.7): white space before a line end is no content, and "="
// before anything but two hexadecimal digits stands for itself.
type recoder struct {
	base64Encoder
	held    []byte // white space, or what begins with "=", of which it depends on the next octets what it is
	decoded []byte
}

// maxHeld is how much white space a line may end in; what is more than a line
// of quoted-printable has is content.
const maxHeld = 1000

func (e *recoder) encode(out, next []byte) []byte {
	e.decoded = e.decoded[:0]
	for _, c := range next {
		e.read(c)
	}
	return e.base64Encoder.encode(out, e.decoded)
}

func (e *recoder) end(out []byte) []byte {
	e.decoded = e.decoded[:0]
	switch {
	case len(e.held) == 0 || e.soft() || isBlank(e.held):
	default:
		e.decoded = append(e.decoded, e.held...)
	}
	return e.base64Encoder.end(e.base64Encoder.encode(out, e.decoded))
}

// read takes the next octet.
func (e *recoder) read(c byte) {
	switch {
	case len(e.held) == 0 && (c == '=' || isWhite(c)):
		e.held = append(e.held, c)
	case len(e.held) == 0:
		e.decoded = append(e.decoded, c)
	case e.held[0] == '=':
		e.escape(c)
	case isWhite(c) && len(e.held) < maxHeld:
		e.held = append(e.held, c)
	default:
		if c != '\r' {
			e.decoded = append(e.decoded, e.held...)
		}
		e.held = e.held[:0]
		e.read(c)
	}
}

// escape takes an octet behind "=": a digit, or of a soft line break.
func (e *recoder) escape(c byte) {
	e.held = append(e.held, c)
	switch {
	case len(e.held) == 2 && isHex(c), e.soft() && len(e.held) < maxHeld:
	case len(e.held) == 3 && isHex(e.held[1]) && isHex(c):
		e.decoded = append(e.decoded, unhex(e.held[1])<<4|unhex(c))
		e.held = e.held[:0]
	case c == '\n' && e.held[len(e.held)-2] == '\r' && isBlank(e.held[1:len(e.held)-2]):
		e.held = e.held[:0]
	default:
		e.asIs()
	}
}

// asIs takes "=" for itself and reads anew what stands behind it.
func (e *recoder) asIs() {
	rest := append([]byte(nil), e.held[1:]...)
	e.decoded = append(e.decoded, '=')
	e.held = e.held[:0]
	for _, c := range rest {
		e.read(c)
	}
}

// soft tells whether what is held may become a soft line break, or is one that
// ends the part.
func (e *recoder) soft() bool {
	rest := e.held[1:]
	if n := len(rest); n > 0 && rest[n-1] == '\r' {
		rest = rest[:n-1]
	}
	return e.held[0] == '=' && isBlank(rest)
}

func isBlank(s []byte) bool {
	for _, c := range s {
		if !isWhite(c) {
			return false
		}
	}
	return true
}

func isWhite(c byte) bool { return c == ' ' || c == '\t' }

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'A' <= c && c <= 'F' || 'a' <= c && c <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
