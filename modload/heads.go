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
	text  string // of all heads, with eight bytes behind them
	// lengths has, for the hash of four bytes, a bit for each length of the heads that begin with them, and wholeBit where there are whole ones.
	lengths *[1 << lengthBits]uint64
	short   uint64 // the same for keys of less than four bytes

	sieve []uint64 // a bit for each hash of a head, so that most of what is none is known without a look at slots
	slots []slot   // open addressing, a power of two

	shift, sieveShift uint // what takes a hash to its place
}

const (
	maxHead    = 62 // a longer one is cut, and the rest of its text comes behind it
	wholeKey   = 63 // stands for the length of the heads that are whole patterns
	wholeBit   = 1 << wholeKey
	lengthBits = 12
	sieveBits  = 3  // to a slot, as a power of two
	maxTries   = 99 // of places for a head; half of them are free
)

// A head is a literal beginning and what is behind it: nothing, a tail, a few of them, or more than that and other things.
type head struct {
	text   uint32
	length uint8
	kind   uint8  // the length, or wholeKey when nothing is behind it
	bus    bool   // there is a colon in the text, and it is no symbol's: no stage of a look-up comes before that of aliases
	plain  bool   // one pattern has it, with values in order of priority
	last   bool   // no other begins with it: of what has been found in a key, it is the end
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

// build makes the table of the heads, of which the first is none. It is false if they are such that no table would be quick.
func (t *headTable) build() bool {
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
		hash := hashHead(text, bit)
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
		bit = hash >> t.sieveShift
		t.sieve[bit>>6] |= 1 << (bit & 63)
		at := hash >> t.shift
		for tries := 0; t.slots[at] != 0; tries++ {
			if tries == maxTries {
				return false
			}
			at = (at + 1) & uint64(len(t.slots)-1)
		}
		t.slots[at] = slot(hash)&slotTag | slot(i)
	}
	t.short |= everywhere
	for i := range t.lengths {
		t.lengths[i] |= everywhere
	}
	return true
}

// beginning is the place in lengths of four bytes.
func beginning(four uint32) uint32 {
	return uint32(blur(uint64(four))) * 0x9E3779B1 >> (32 - lengthBits)
}

// hashHead is the hash of a head whose length has a bit.
func hashHead(text string, bit uint64) uint64 {
	sum := uint64(0)
	for ; len(text) >= 8; text = text[8:] {
		sum = mix(sum ^ blur(word8(text, 0)))
	}
	return mix(sum ^ blur(shortWord(text)<<(8*(8-uint(len(text)))&63)) ^ bit)
}

// mix spreads every bit of x over all of the result.
func mix(x uint64) uint64 {
	const factor = 0x9E3779B97F4A7C15
	hi, lo := bits.Mul64(x^factor, factor)
	return hi ^ lo
}

// A probe is how far the heads of a key have been looked for: the lengths that are still to be tried, and the hash of the key up to a place.
type probe struct {
	lengths, sum uint64
	at           int
}

// candidates are the lengths that heads of a key may have, a bit for each.
func (t *headTable) candidates(key string) uint64 {
	n, lengths := len(key), t.short
	if n >= 4 {
		lengths = t.lengths[beginning(word4(key))]
	}
	return lengths & (uint64(n-maxHead)&wholeBit | 2<<uint(min(n, maxHead)) - 1) // no whole head is longer than maxHead
}

// next returns the next head that a key has, the shorter ones first, nil when there are no more. All is done in one go over the key, and
// nothing is called for a head that lies at its hash's own place and is spelled as the key is, so that all stays in registers.
func (t *headTable) next(key string, p *probe) *head {
	n, sum, at := len(key), p.sum, p.at
	for lengths := p.lengths; lengths != 0; {
		kind := bits.TrailingZeros64(lengths)
		bit := lengths & -lengths
		lengths &= lengths - 1
		end := kind
		if kind == wholeKey {
			end = n
		}
		for ; at+8 <= end; at += 8 {
			sum = mix(sum ^ blur(word8(key, at)))
		}
		var w uint64
		switch {
		case at+8 <= n:
			w = word8(key, at)
		case n >= 8:
			w = word8(key, n-8) >> (8 * uint(at-n+8) & 63)
		default:
			w = shortWord(key) // at is 0
		}
		w = cut(w, end-at)
		hash := mix(sum ^ blur(w) ^ bit)
		if s := hash >> (t.sieveShift & 63); t.sieve[s>>6]>>(s&63)&1 == 0 {
			continue
		}
		p.lengths, p.sum, p.at = lengths, sum, at
		entry := t.slots[hash>>(t.shift&63)]
		h := &t.heads[entry&slotPlace]
		if (entry^slot(hash))&slotTag == 0 && int(h.kind) == kind && int(h.length) == end && cut(word8(t.text, int(h.text)+at), end-at) == w {
			i := 0
			for i < at && word8(key, i) == word8(t.text, int(h.text)+i) {
				i += 8
			}
			if i >= at {
				return h.ends(p)
			}
		}
		if h := t.head(key[:end], kind, hash); h != nil {
			return h.ends(p)
		}
	}
	p.lengths = 0
	return nil
}

// ends ends a probe behind the last head that there can be.
func (h *head) ends(p *probe) *head {
	if h.last {
		p.lengths = 0
	}
	return h
}

// cut are the first bytes of a word, less than eight, behind zeros.
func cut(w uint64, n int) uint64 {
	return w << 1 << ((63 - 8*uint(n)) & 63) // by 64 bits at once it would not go
}

// head returns the head of a hash that is a key's beginning, but for dashes; nil if there is none.
func (t *headTable) head(beginning string, kind int, hash uint64) *head {
	for place := hash >> t.shift; ; place++ {
		s := t.slots[place&uint64(len(t.slots)-1)]
		if s == 0 {
			return nil
		}
		if h := &t.heads[s&slotPlace]; (s^slot(hash))&slotTag == 0 && int(h.kind) == kind && folded(beginning, t.text[h.text:][:h.length]) {
			return h
		}
	}
}
