package modload

import (
	"math/bits"
)

// A headTable finds what an [automaton] has for a key by the patterns' heads: the literal text before the first wildcard, which of a pattern
// without one is all of it. Heads are found by their hash instead of byte by byte down a trie, because they are most of what patterns
// are, and few lengths of them occur together: those of Debian's 8,968 patterns for pci have eight, those of virtio one. So a look-up tries as
// many places as the key's first four bytes allow lengths, and no place hangs on what was found at another.
//
// A head that is found may have a - in the key for each of its _, so that keys need not be rewritten for it: a head has no brackets, in which
// they would differ.
//
// It never changes once build has made it.
type headTable struct {
	heads []head
	text  string // of all heads
	// lengths has, for the hash of four bytes, a bit for each length of the heads that begin with them, and wholeBit where there are whole ones.
	lengths *[1 << lengthBits]uint64
	short   uint64 // the same for keys of less than four bytes

	sieve []uint64 // a bit for each hash of a head, so that most of what is none is known without a look at slots
	slots []slot   // open addressing, a power of two

	shift, sieveShift uint // what takes a hash to its place
}

const (
	maxHead    = 62 // a longer one is cut, and the rest of its text comes behind it
	wholeBit   = 1 << wholeKey
	lengthBits = 12
	sieveBits  = 3 // to a slot, as a power of two
)

// A head is a literal beginning and what is behind it: nothing, a tail, a few of them, or more than that and other things.
type head struct {
	text   uint32
	length uint16
	kind   uint8  // the length, or wholeKey
	bus    bool   // there is a colon in the text, and it is no symbol's: no stage of a look-up comes before that of aliases
	tail   uint16 // its number; of a few, how many there are; else 0
	count  uint16 // of values; 0 says that they are elsewhere
	values uint32 // the place of the first; of a few tails, of the first ending; else a node of the automaton
}

// A slot holds a part of a head's hash, so that other heads are seldom looked into, and in the lower bits its place; 0 is none.
type slot uint32

const (
	slotPlace = 1<<20 - 1 // and no index has more heads
	slotTag   = ^slot(slotPlace)
)

// build makes the table of the heads, of which the first is none.
func (t *headTable) build() {
	size := bits.Len(uint(len(t.heads)) * 2) // at least half of the slots are free, so that few lie elsewhere than at their hash
	t.lengths = new([1 << lengthBits]uint64)
	t.slots = make([]slot, 1<<size)
	t.sieve = make([]uint64, max(1, 1<<(size+sieveBits)/64))
	t.shift = 64 - uint(size)
	t.sieveShift = t.shift - sieveBits
	everywhere := uint64(0)
	for i := 1; i < len(t.heads); i++ {
		h := &t.heads[i]
		text, bit := t.text[h.text:][:h.length], uint64(1)<<h.kind
		f := t.hash(text, bit)
		switch {
		case len(text) >= 4:
			t.lengths[beginning(word4(text))] |= bit
		case h.kind == wholeKey:
			t.short |= bit
		case len(text) == 3:
			t.short |= bit
			for fourth := range uint32(0x100) { // a key need not be ASCII
				t.lengths[beginning(uint32(shortWord(text))|fourth<<24)] |= bit
			}
		default:
			everywhere |= bit
		}
		bit = uint64(f) >> t.sieveShift
		t.sieve[bit>>6] |= 1 << (bit & 63)
		at := uint64(f) >> t.shift
		for t.slots[at] != 0 {
			at = (at + 1) & uint64(len(t.slots)-1)
		}
		t.slots[at] = slot(f)&slotTag | slot(i)
	}
	t.short |= everywhere
	for i := range t.lengths {
		t.lengths[i] |= everywhere
	}
}

// beginning is the place in lengths of four bytes.
func beginning(four uint32) uint32 { return four * 0x9E3779B1 >> (32 - lengthBits) }

// maxFound is the number of heads that a key can have without being left to the walk through the file. Debian's have five at most.
const maxFound = 8

// A found is one head that a key may have: its hash, with its length in place of the lowest bits; of a whole one, wholeKey.
type found uint64

const wholeKey = 63

// candidates are the lengths that heads of a key may have, a bit for each.
func (t *headTable) candidates(key string) uint64 {
	n := uint(len(key))
	if n < 4 {
		return t.short & (wholeBit | 2<<n - 1)
	}
	lengths := t.lengths[beginning(uint32(fold(uint64(word4(key)))))]
	if n < maxHead {
		return lengths & (wholeBit | 2<<(n&63) - 1)
	}
	return lengths &^ wholeBit
}

// hash is the hash of the beginning of a key that has a length, which is length's bit; of all of it for wholeBit. That of a head is its text's.
func (t *headTable) hash(key string, length uint64) found {
	end := bits.TrailingZeros64(length)
	if end == wholeKey {
		end = len(key)
	}
	sum, at := uint64(0), 0
	for ; at+8 <= end; at += 8 {
		sum = mix(sum ^ fold(word8(key, at)))
	}
	return found(mix(sum^fold(part(key, at, end))^length)&^wholeKey) | found(bits.TrailingZeros64(length))
}

// find puts into list what heads a key may have, of the lengths given, the shorter first, and returns how many; maxFound+1 for more than the
// list takes. It is hash for each of them, in one go over the key; nothing is called on the way and little is kept, so that all of it stays in
// registers.
func (t *headTable) find(key string, lengths uint64, list *[maxFound]found) (count int) {
	n := len(key)
	short := uint64(0)
	if n < 8 {
		short = shortWord(key)
	}
	sum, at := uint64(0), 0
	for ; lengths != 0; lengths &= lengths - 1 {
		end := bits.TrailingZeros64(lengths)
		if end == wholeKey {
			end = n
		}
		for ; at+8 <= end; at += 8 {
			sum = mix(sum ^ fold(word8(key, at)))
		}
		w := short
		if at+8 <= n {
			w = word8(key, at)
		} else if n >= 8 {
			w = word8(key, n-8) >> (8 * uint(at-n+8) & 63)
		}
		w = fold(w << 1 << ((63 - 8*uint(end-at)) & 63))
		hash := mix(sum ^ w ^ lengths&-lengths)
		bit := hash >> (t.sieveShift & 63)
		if t.sieve[bit>>6]>>(bit&63)&1 != 0 {
			if count == maxFound {
				return maxFound + 1
			}
			list[count] = found(hash&^wholeKey) | found(bits.TrailingZeros64(lengths))
			count++
		}
	}
	return count
}

// part are the bytes of a string from at to end, less than eight, behind zeros.
func part(s string, at, end int) uint64 {
	n := len(s)
	var w uint64
	switch {
	case at+8 <= n:
		w = word8(s, at)
	case n >= 8:
		w = word8(s, n-8) >> (8 * uint(at-n+8) & 63)
	default:
		w = shortWord(s) // at is 0
	}
	return w << 1 << ((63 - 8*uint(end-at)) & 63) // what is behind the end goes: by 64 bits it would have to go twice
}

// head returns what was found, if it is a head that text stands for after all; else nil.
func (t *headTable) head(f found, text string) *head {
	for at := uint64(f) >> (t.shift & 63); ; at++ {
		s := t.slots[at&uint64(len(t.slots)-1)]
		if s == 0 {
			return nil
		}
		if (s^slot(f))&slotTag == 0 {
			if h := &t.heads[s&slotPlace]; found(h.kind) == f&wholeKey && int(h.length) == len(text) && folded(text, t.text[h.text:][:len(text)]) {
				return h
			}
		}
	}
}

// of is the part of a key that was found.
func (f found) of(key string) string {
	if n := f & wholeKey; n < wholeKey {
		return key[:n]
	}
	return key
}

// mix spreads every bit of x over all of the result.
func mix(x uint64) uint64 {
	const factor = 0x9E3779B97F4A7C15
	hi, lo := bits.Mul64(x^factor, factor)
	return hi ^ lo
}
