package blkid

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

const space = " \t\n\v\f\r"

// cString returns what stands before the first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func trimRight(s string) string { return strings.TrimRight(s, space) }
func trim(s string) string      { return strings.Trim(s, space) }

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func formatUUID(b []byte) string {
	var out [36]byte
	hex.Encode(out[:8], b[:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// formatGUID is formatUUID for EFI's order of bytes.
func formatGUID(b []byte) string {
	return formatUUID([]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]})
}

// utf16Text decodes UTF-16 up to a zero. A surrogate without its other half stays as it is.
func utf16Text(b []byte, order binary.ByteOrder) string {
	var out []byte
	for i := 0; i+2 <= len(b); i += 2 {
		c := uint32(order.Uint16(b[i:]))
		if c >= 0xd800 && c <= 0xdbff && i+4 <= len(b) {
			if d := uint32(order.Uint16(b[i+2:])); d >= 0xdc00 && d <= 0xdfff {
				c = 0x10000 + (c-0xd800)<<10 + d - 0xdc00
				i += 2
			}
		}
		if c == 0 {
			break
		}
		if c >= 0xd800 && c <= 0xdfff {
			out = append(out, byte(0xe0|c>>12), byte(0x80|c>>6&0x3f), byte(0x80|c&0x3f))
			continue
		}
		out = utf8.AppendRune(out, rune(c))
	}
	return string(out)
}

// latin1Text decodes Latin-1 up to a zero.
func latin1Text(b []byte) string {
	var out []byte
	for _, c := range b {
		if c == 0 {
			break
		}
		out = utf8.AppendRune(out, rune(c))
	}
	return string(out)
}

// runeLen returns the length of the valid character at the start of s, 0 where there is none.
func runeLen(s string) int {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n <= 1 || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
		return 0
	}
	return n
}

// maxText is how much of a text udev takes.
const maxText = 256

// Safe makes a text fit for a property: no white space around it, one underscore for each run within, and for what is
// no character.
func Safe(s string) string {
	s = s[:min(len(s), maxText)]
	b := make([]byte, 0, len(s))
	for i, gap := 0, true; i < len(s) && len(b) < maxText-1; i++ {
		blank := isSpace(s[i])
		if !blank || !gap {
			b = append(b, s[i])
		}
		gap = blank
	}
	if len(b) > 0 && isSpace(s[len(s)-1]) {
		b = b[:len(b)-1]
	}
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c > ' ' && c <= '~' && !(c == '\\' && i+1 < len(b) && b[i+1] == 'x'):
			i++
		case c == '\\':
			i += 2
		case isSpace(c):
			b[i] = '_'
			i++
		default:
			if n := runeLen(string(b[i:min(i+4, len(b))])); n > 0 {
				i += n
			} else {
				b[i] = '_'
				i++
			}
		}
	}
	return string(b)
}

// Encode writes what may not stand in a link's name as \xNN.
func Encode(s string) string {
	plain := true
	for i := range len(s) {
		if !inName(s[i]) {
			plain = false
			break
		}
	}
	if plain && len(s)+3 < maxText {
		return s
	}
	const digits = "0123456789abcdef"
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			if n := runeLen(s[i:]); n > 0 {
				if maxText-len(b) < n {
					break
				}
				b = append(b, s[i:i+n]...)
				i += n - 1
				if len(b)+3 >= maxText {
					break
				}
				continue
			}
		}
		if inName(s[i]) {
			b = append(b, s[i])
		} else {
			b = append(b, '\\', 'x', digits[s[i]>>4], digits[s[i]&15])
		}
		if len(b)+3 >= maxText {
			break
		}
	}
	return string(b)
}

func inName(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("#+-.:=@_", c) >= 0
}
