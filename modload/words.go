package modload

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"
)

// Eight bytes at a time: what look-ups do with strings of a few words. A byte's high bit is the answer of what asks something of each.

const (
	ones = 0x0101010101010101
	high = 0x80 * ones
)

// word8 are eight bytes of a string, which has them.
func word8(s string, at int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(s)), at))[:])
}

// word4 are the first four bytes of a string, which has them.
func word4(s string) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(unsafe.Pointer(unsafe.StringData(s)))[:])
}

// shortWord is all of a string of less than eight bytes, with zeros behind it.
func shortWord(s string) uint64 {
	if len(s) < 4 {
		return tinyWord(s)
	}
	p := unsafe.Pointer(unsafe.StringData(s))
	last := binary.LittleEndian.Uint32((*[4]byte)(unsafe.Add(p, len(s)-4))[:])
	return uint64(word4(s)) | uint64(last)<<(8*uint(len(s)-4)&63)
}

// tinyWord is shortWord of less than four bytes.
func tinyWord(s string) (w uint64) {
	for i := range len(s) {
		w |= uint64(s[i]) << (8 * i)
	}
	return w
}

// fold is a word with _ for every -. What it makes of a word that is not all ASCII is not all ASCII either.
func fold(x uint64) uint64 {
	return x ^ between(x, '-', '-')&high>>7*('-'^'_')
}

// blur is a word in which a dash is as a _, for hashes: besides, every byte with bit 6 is as one that seldom stands in its place, as b is as 0.
func blur(x uint64) uint64 { return x - x>>6&ones*('_'-'-') }

// folded says whether s is text, of the same length, but for dashes.
func folded(s, text string) bool {
	n := len(s)
	if len(text) != n {
		return false
	}
	if n < 8 {
		return fold(shortWord(s)) == shortWord(text)
	}
	for i := 0; i < n-8; i += 8 {
		if fold(word8(s, i)) != word8(text, i) {
			return false
		}
	}
	return fold(word8(s, n-8)) == word8(text, n-8)
}

// between has the high bit of each byte of x that is from lo to hi, if all of them are ASCII; their other bits mean nothing.
func between(x, lo, hi uint64) uint64 {
	return (x + (0x80-lo)*ones) ^ (x + (0x7F-hi)*ones)
}

// oddBytes has the high bit of a byte of x for which a key has to be looked at more closely, if there is one: of a dash, of a bracket, and of
// what is not ASCII.
func oddBytes(x uint64) uint64 {
	return x | between(x, '-', '-') | between(x, '[', ']')
}

// zeros has the high bit of each byte of x that is zero. Above the first of them it may have others too.
func zeros(x uint64) uint64 {
	return (x - ones) &^ x & high
}

// find returns where the first text lies in s, from a place on; -1 for nowhere. Texts are of a few bytes, and mostly near.
func find(s string, from int, text string) int {
	switch len(text) {
	case 0:
		return from
	case 1, 2:
		return findField(s, from, text)
	}
	c, d := uint64(text[0])*ones, uint64(text[1])*ones
	n := len(s)
	last := n - len(text)
	for i := from; i <= last; i += 8 {
		for ; i+64 <= n; i += 16 { // most of a long key is none of it
			if zeros((word8(s, i)^c)|(word8(s, i+1)^d))|zeros((word8(s, i+8)^c)|(word8(s, i+9)^d)) != 0 {
				break
			}
		}
		var w, next uint64
		switch {
		case i+9 <= n:
			w, next = word8(s, i), word8(s, i+1)
		case n >= 8:
			w = word8(s, n-8) >> (8 * uint(i+8-n) & 63)
			next = w >> 8
		default:
			w = shortWord(s[i:])
			next = w >> 8
		}
		for z := zeros((w ^ c) | (next ^ d)); z != 0; z &= z - 1 {
			if at := i + bits.TrailingZeros64(z)/8; at <= last && s[at+len(text)-1] == text[len(text)-1] && s[at:at+len(text)] == text {
				return at
			}
		}
	}
	return -1
}

// findField is find for the names of most fields, a byte or two, of which the first seldom stands elsewhere.
func findField(s string, from int, text string) int {
	c, n := uint64(text[0])*ones, len(s)
	for i := from; i < n; i += 8 {
		var w uint64
		switch {
		case i+8 <= n:
			w = word8(s, i)
		case n >= 8:
			w = word8(s, n-8) >> (8 * uint(i+8-n) & 63)
		default:
			w = shortWord(s[i:])
		}
		for z := zeros(w ^ c); z != 0; z &= z - 1 {
			at := i + bits.TrailingZeros64(z)/8
			if at+len(text) > n {
				return -1
			}
			if s[at] == text[0] && s[at+len(text)-1] == text[len(text)-1] {
				return at
			}
		}
		if i-from >= 24 && n-i > 32 { // it is not near
			j := strings.IndexByte(s[i+8:], text[0])
			if j < 0 {
				return -1
			}
			i += j
		}
	}
	return -1
}
