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

// find is strings.Index for texts of a few bytes, which are mostly near.
func find(s, text string) int {
	switch len(text) {
	case 0:
		return 0
	case 1:
		return findByte(s, text[0])
	case 2:
		return findTwo(s, text[0], text[1])
	}
	for from := 0; ; from++ {
		i := findTwo(s[from:], text[0], text[1])
		if i < 0 || len(s)-from-i < len(text) {
			return -1
		}
		if from += i; s[from+2:from+len(text)] == text[2:] {
			return from
		}
	}
}

func findTwo(s string, c, d byte) int {
	first, second := uint64(c)*ones, uint64(d)*ones
	i := 0
	for ; i+9 <= len(s); i += 8 {
		for z := zeros(word8(s, i)^first) & zeros(word8(s, i+1)^second); z != 0; z &= z - 1 {
			if at := i + bits.TrailingZeros64(z)/8; s[at] == c && s[at+1] == d {
				return at
			}
		}
	}
	for ; i+1 < len(s); i++ {
		if s[i] == c && s[i+1] == d {
			return i
		}
	}
	return -1
}

func findByte(s string, c byte) int {
	i := 0
	for ; i+8 <= len(s) && i < 32; i += 8 {
		if z := zeros(word8(s, i) ^ uint64(c)*ones); z != 0 {
			return i + bits.TrailingZeros64(z)/8
		}
	}
	if len(s)-i > 16 {
		j := strings.IndexByte(s[i:], c)
		if j < 0 {
			return -1
		}
		return i + j
	}
	for ; i < len(s); i++ {
		if s[i] == c {
			return i
		}
	}
	return -1
}
