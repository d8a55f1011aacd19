package modload

import (
	"encoding/binary"
	"strings"
	"unsafe"
)

// glob says whether a pattern of fnmatch(3), with no flags given, matches all of s: * and ? stand for any bytes, slashes and leading
// dots included, [set] for one, and a backslash takes the next byte as it is. It neither allocates nor takes more than
// len(pattern) times len(s) steps.
func glob(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0 // behind the last star, and where in s it was last taken to end
	for {
		if p < len(pattern) {
			switch c := pattern[p]; {
			case c == '*':
				p++
				star, mark = p, i
				continue
			case i == len(s):
			case c == '?':
				p++
				i++
				continue
			case c == '[':
				if end := setEnd(pattern[p+1:]); end > 0 {
					if inSet([]byte(pattern[p+1:p+1+end]), s[i]) {
						p += 1 + end
						i++
						continue
					}
				} else if s[i] == '[' { // never closed: it stands for itself
					p++
					i++
					continue
				}
			default:
				q := p
				if c == '\\' && q+1 < len(pattern) {
					q++
				}
				if pattern[q] == s[i] {
					p = q + 1
					i++
					continue
				}
			}
		} else if i == len(s) {
			return true
		}
		if star < 0 || mark >= len(s) {
			return false
		}
		mark++
		p, i = star, mark
	}
}

// MatchName says whether a module's name matches a shell pattern, in which - and _ are the same.
func MatchName(pattern, name string) bool {
	if p, ok := normalizeAlias(pattern); ok {
		pattern = p
	}
	return glob(pattern, name)
}

// setEnd is the length of a set, given from behind its opening bracket, with its closing one; 0 when it is never closed.
func setEnd(s string) int {
	for i := range len(s) {
		if s[i] == ']' && (i > 1 || i == 1 && s[0] != '!' && s[0] != '^') {
			return i + 1
		}
	}
	return 0
}

// isPattern says whether s holds a wildcard.
func isPattern(s string) bool { return strings.ContainsAny(s, "*?[") }

// appendUnderscores is normalizeAlias into a buffer.
func appendUnderscores(buf []byte, s string) ([]byte, bool) {
	start := len(buf)
	buf = append(buf, s...)
	b := buf[start:]
	if strings.IndexByte(s, '[') < 0 && strings.IndexByte(s, ']') < 0 { // as it is with nearly all: eight bytes at a time
		i := 0
		for ; i+8 <= len(b); i += 8 {
			x := binary.LittleEndian.Uint64(b[i:])
			dashes := dashBytes(x)
			binary.LittleEndian.PutUint64(b[i:], x^dashes>>7*('-'^'_'))
		}
		for ; i < len(b); i++ {
			if b[i] == '-' {
				b[i] = '_'
			}
		}
		return buf, true
	}
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '-':
			b[i] = '_'
		case ']':
			return buf, false
		case '[':
			end := strings.IndexByte(s[i:], ']')
			if end < 0 {
				return buf, false
			}
			i += end
		}
	}
	return buf, true
}

// dashBytes has the high bit of each byte of x that is a dash, and no other.
func dashBytes(x uint64) uint64 {
	const ones = 0x0101010101010101
	const sevens = 0x7F * ones
	x ^= '-' * ones
	return ^((x&sevens + sevens) | x | sevens)
}

// holdsDashOrBracket says whether appendUnderscores has anything to do.
func holdsDashOrBracket(s string) bool {
	if len(s) < 8 {
		for i := range len(s) {
			if c := s[i]; c == '-' || c == '[' || c == ']' {
				return true
			}
		}
		return false
	}
	const ones = 0x0101010101010101
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	var found uint64
	for ; len(b) > 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		found |= zeroByte(x^'-'*ones) | zeroByte(x^'['*ones) | zeroByte(x^']'*ones)
	}
	b = unsafe.Slice(unsafe.StringData(s), len(s))
	x := binary.LittleEndian.Uint64(b[len(b)-8:])
	found |= zeroByte(x^'-'*ones) | zeroByte(x^'['*ones) | zeroByte(x^']'*ones)
	return found != 0
}

// zeroByte is not 0 when one of the bytes of x is.
func zeroByte(x uint64) uint64 {
	const ones = 0x0101010101010101
	return (x - ones) &^ x & (0x80 * ones)
}
