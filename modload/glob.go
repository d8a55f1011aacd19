package modload

import (
	"bytes"
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

// asIs says whether a look-up's key needs no rewriting: it is ASCII, without dashes and brackets.
func asIs(s string) bool {
	if len(s) < 8 {
		return oddBytes(shortWord(s))&high == 0
	}
	end, i := len(s)-8, 0
	for ; i < end-8; i += 16 {
		if (oddBytes(word8(s, i))|oddBytes(word8(s, i+8)))&high != 0 {
			return false
		}
	}
	return (i >= end || oddBytes(word8(s, i))&high == 0) && oddBytes(word8(s, end))&high == 0
}

// hasBus says whether a key begins as those of a bus do: there is a colon among the first sixteen bytes, and it is no symbol's. Of a key that
// is not ASCII it says nothing.
func hasBus(s string) bool {
	if len(s) < 8 {
		return between(shortWord(s), ':', ':')&high != 0 && s != "symbol:"
	}
	return (between(word8(s, 0), ':', ':')|between(word8(s, min(8, len(s)-8)), ':', ':'))&high != 0 && s[:7] != "symbol:"
}

// withUnderscores is normalizeAlias into a buffer, if that has the room.
func withUnderscores(buf []byte, s string) (string, bool) {
	n := len(s)
	if n < 8 || n > cap(buf) {
		return underscoresOutside(buf, s)
	}
	buf = buf[:n]
	others := uint64(0)
	for i := 0; ; i += 8 {
		i = min(i, n-8)
		x := word8(s, i)
		others |= x | between(x, '[', ']')
		if n <= 64 {
			binary.LittleEndian.PutUint64(buf[i:], x^(between(x, '-', '-')&high>>7)*('-'^'_'))
		}
		if i == n-8 {
			break
		}
	}
	if others&high != 0 {
		return underscoresOutside(buf[:0], s)
	}
	if n > 64 { // of so many bytes few are dashes
		copy(buf, s)
		for at := 0; ; at++ {
			dash := bytes.IndexByte(buf[at:], '-')
			if dash < 0 {
				break
			}
			at += dash
			buf[at] = '_'
		}
	}
	return unsafe.String(unsafe.SliceData(buf), n), true
}

// underscoresOutside is withUnderscores for keys with brackets, in which a dash is a dash.
func underscoresOutside(buf []byte, s string) (string, bool) {
	buf = append(buf, s...)
	for i := 0; i < len(buf); i++ {
		switch buf[i] {
		case '-':
			buf[i] = '_'
		case ']':
			return "", false
		case '[':
			end := strings.IndexByte(s[i:], ']')
			if end < 0 {
				return "", false
			}
			i += end
		}
	}
	return unsafe.String(unsafe.SliceData(buf), len(buf)), true
}
