package smtp

import (
	"bytes"
	"io"
)

// dotWriter writes content as it goes behind DATA: a dot before each line that
// begins with one (RFC 5321, section 4.5.2), and every line end CRLF. Content
// whose line ends are CRLF passes unchanged but for the dots. A bare CR or LF
// becomes CRLF: on the wire it could pass for the end of the mail.
type dotWriter struct {
	w         io.Writer
	lineStart bool
	cr        bool // the last octet was CR; its line end is not written yet
}

var crlf, dot = []byte("\r\n"), []byte(".")

func (d *dotWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if d.cr {
			d.cr = false
			if err := d.endLine(); err != nil {
				return 0, err
			}
			if p[0] == '\n' {
				p = p[1:]
			}
			continue
		}
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			i = len(p)
		}
		if err := d.text(p[:i]); err != nil {
			return 0, err
		}
		if p = p[i:]; len(p) == 0 {
			break
		}
		if d.cr = p[0] == '\r'; !d.cr {
			if err := d.endLine(); err != nil {
				return 0, err
			}
		}
		p = p[1:]
	}
	return n, nil
}

// text writes a part of a line.
func (d *dotWriter) text(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if d.lineStart && p[0] == '.' {
		if _, err := d.w.Write(dot); err != nil {
			return err
		}
	}
	d.lineStart = false
	_, err := d.w.Write(p)
	return err
}

func (d *dotWriter) endLine() error {
	d.lineStart = true
	_, err := d.w.Write(crlf)
	return err
}

// end ends the last line and writes the final dot.
func (d *dotWriter) end() error {
	if d.cr || !d.lineStart {
		d.cr = false
		if err := d.endLine(); err != nil {
			return err
		}
	}
	_, err := d.w.Write([]byte(".\r\n"))
	return err
}
