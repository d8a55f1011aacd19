package builtin

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kudev/kudev/hotplug"
)

// sysPath returns the path of name below the device's directory, in the file system that stands for /sys.
func sysPath(dev *hotplug.Device, name string) string {
	return filepath.Join(dev.Roots().SysDir(), dev.Devpath(), name)
}

// linkTarget returns what a link below the device leads to, as a path within sysfs.
func linkTarget(dev *hotplug.Device, name string) (string, error) {
	target, err := filepath.EvalSymlinks(sysPath(dev, name))
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(dev.Roots().SysDir())
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(target, root)
	if !ok {
		return "", os.ErrInvalid
	}
	return rest, nil
}

// attr returns an attribute, "" when there is none.
func attr(dev *hotplug.Device, name string) string {
	v, err := dev.Attr(name)
	if err != nil {
		return ""
	}
	return v
}

func hasAttr(dev *hotplug.Device, name string) bool {
	_, err := dev.Attr(name)
	return err == nil
}

// readBounded reads at most n bytes of a file of sysfs. Most have less than fits the first piece.
func readBounded(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, min(n, 2048))
	for have := 0; ; {
		m, err := f.Read(buf[have:])
		have += m
		if have == n || m == 0 || err != nil {
			return buf[:have], nil
		}
		if have == len(buf) {
			buf = append(buf, make([]byte, min(n, 8*have)-have)...)
		}
	}
}

const space = " \t\n\r\v\f"

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// plainInName says whether a character may stand in a link's name as it is: letters, digits and #+-.:=@_ .
func plainInName(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || strings.IndexByte("#+-.:=@_", c) >= 0
}

// runeLen returns the length of the valid UTF-8 character of more than one byte at the start of s, or 0.
func runeLen(s string) int {
	if s[0] < utf8.RuneSelf {
		return 0
	}
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n <= 1 || unassigned(r) {
		return 0
	}
	return n
}

// unassigned are the code points that Unicode keeps for no character.
func unassigned(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }

// encode writes what may not stand in a link's name as \xNN, as far as the result stays below limit bytes; udev leaves
// what it had by then.
func encode(s string, limit int) string {
	const hex = "0123456789abcdef"
	i := 0
	for i < len(s) && plainInName(s[i]) {
		i++
	}
	if i == len(s) && len(s) < limit {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if n := runeLen(s[i:]); n > 0 {
			if limit-b.Len() <= n {
				break
			}
			b.WriteString(s[i : i+n])
			i += n - 1
		} else if !plainInName(s[i]) {
			if limit-b.Len() <= 4 {
				break
			}
			b.WriteString(`\x`)
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		} else {
			if limit-b.Len() <= 1 {
				break
			}
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// replaceSpace removes white space at both ends and makes one underscore of each run within, reading and writing at
// most limit bytes.
func replaceSpace(s string, limit int) string {
	s = s[:min(len(s), limit)]
	start := 0
	for start < len(s) && isSpace(s[start]) {
		start++
	}
	s = s[start:]
	clean := true
	for i := range len(s) {
		if isSpace(s[i]) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	b := make([]byte, 0, len(s))
	gap := false
	for i := range len(s) {
		if isSpace(s[i]) {
			gap = true
			continue
		}
		if gap {
			b = append(b, '_')
			gap = false
		}
		b = append(b, s[i])
	}
	return string(b)
}

// replaceChars makes an underscore of every character that may not stand in a link's name. \x stays, so an encoded
// name stays; allow lists further characters that may stay.
func replaceChars(s, allow string) string {
	ok := func(c byte) bool { return plainInName(c) || strings.IndexByte(allow, c) >= 0 }
	var b []byte
	for i := 0; i < len(s); {
		if ok(s[i]) {
			i++
			continue
		}
		if s[i] == '\\' && i+1 < len(s) && s[i+1] == 'x' {
			i += 2
			continue
		}
		if n := runeLen(s[i:]); n > 0 {
			i += n
			continue
		}
		if b == nil {
			b = []byte(s)
		}
		if isSpace(s[i]) && strings.IndexByte(allow, ' ') >= 0 {
			b[i] = ' '
		} else {
			b[i] = '_'
		}
		i++
	}
	if b == nil {
		return s
	}
	return string(b)
}

// cleanName is how usb_id and the helper programs make a link's name part out of what a device says of itself.
func cleanName(s string, limit int) string { return replaceChars(replaceSpace(s, limit), "") }

// parseUint reads an unsigned number as udev does: white space in front, and for base 0 also 0x, 0o, 0b and a leading 0.
func parseUint(s string, base, bits int) (uint64, error) {
	s = strings.TrimLeft(s, space)
	s = strings.TrimPrefix(s, "+")
	if base == 16 {
		if len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") {
			s = s[2:]
		}
	}
	if strings.IndexByte(s, '_') >= 0 {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, base, bits)
}

// scanner reads a string piece by piece, as sscanf does.
type scanner struct {
	s  string
	ok bool
}

func scan(s string) scanner { return scanner{s, true} }

// lit skips a literal.
func (p *scanner) lit(l string) *scanner {
	rest, ok := strings.CutPrefix(p.s, l)
	p.s, p.ok = rest, p.ok && ok
	return p
}

// num reads an unsigned number of the base into v, of at most width digits when width is not 0.
func (p *scanner) num(base, width int, v *uint64) *scanner {
	if !p.ok {
		return p
	}
	n := 0
	for n < len(p.s) && (width == 0 || n < width) {
		c := p.s[n] | 0x20
		if !isDigit(p.s[n]) && !(base == 16 && c >= 'a' && c <= 'f') {
			break
		}
		n++
	}
	x, err := strconv.ParseUint(p.s[:n], base, 64)
	if err != nil {
		p.ok = false
		return p
	}
	*v, p.s = x, p.s[n:]
	return p
}
