package modload

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"slices"
)

const (
	// maxSteps bounds the work for one look-up in a damaged file. The most that a real tree's patterns take is some thousands.
	maxSteps = 1 << 18
	maxStars = 1 << 13
)

// A walk is one look-up under way: a position in the pattern (a node's reference and an offset into its prefix) and one in the key move
// together. It takes no longer for a bus whose patterns begin with a star.
//
// Where a pattern has a star, the first position in the key at which that star is reached is enough: what follows from a later one
// follows from it too, since the star takes up the difference. So each star is gone into once, the work is bounded by stars times
// the key's length, and no value is found twice.
//
// A walk is made to lie on the caller's stack: what does not fit into its arrays is rare, and is copied rather than appended to, since the
// compiler takes an append through a pointer for an escape of all that the walk holds.
type walk struct {
	data      []byte
	key       []byte
	count     int  // hits
	ties      bool // two hits of one priority are there
	fault     fault
	at        uint32 // where the fault is
	stars     int    // gone into
	steps     int
	moreStars []uint32
	moreHits  []hit // all the hits, when they are too many for the array
	starBuf   [24]uint32
	hitBuf    [28]hit
}

// hits are what the last search has found.
func (w *walk) hits() []hit {
	if w.moreHits != nil {
		return w.moreHits[:w.count]
	}
	return w.hitBuf[:w.count]
}

// A fault is what is wrong with a file. It is no string, since a string would make all that a walk holds escape to the heap.
type fault uint8

const (
	noFault fault = iota
	prefixEndless
	circle
	fileEnds
	badTable
	tooManyStars
	valuesEnd
	valueEndless
	notASCII
)

func (f fault) String() string {
	return [...]string{"nothing", "a prefix has no end", "nodes go round in a circle", "the file ends", "the table of children is damaged",
		"more stars than a look-up can pass", "the file ends within a list of values",
		"a value has no end", "a key's byte is not ASCII"}[f]
}

//go:noinline // once in the program, not in each of its many callers
func (w *walk) fail(at uint32, what fault) {
	if w.fault == noFault {
		w.fault, w.at = what, at
	}
	w.steps = maxSteps // all that is under way returns
}

// node matches the key from k on against what a node and those below it say. p is an offset in the node's prefix, where it has one, or
// else the node's own.
func (w *walk) node(ref, p uint32, k int) {
	data, key := w.data, w.key
	for {
		if w.steps++; w.steps > maxSteps {
			w.fail(p, circle)
			return
		}
		if ref&nodePrefix != 0 {
			for {
				for k < len(key) && int(p) < len(data) && data[p] == key[k] && !special[key[k]] {
					p++
					k++
				}
				if int(p) >= len(data) {
					w.fail(p, prefixEndless)
					return
				}
				c := data[p]
				p++
				if c == 0 {
					break
				}
				switch {
				case c == '*':
					w.star(ref, p, k)
					return
				case c == '[':
					w.set(ref, p, k)
					return
				case c >= 0x80:
					w.fail(p-1, notASCII)
					return
				case c != '?' || k == len(key):
					return
				}
				k++
			}
		}
		var next uint32
		if ref&nodeChildren != 0 {
			if int(p)+2 > len(data) {
				w.fail(p, fileEnds)
				return
			}
			first, last := data[p], data[p+1]
			table := p + 2
			p = table + 4*(uint32(last)-uint32(first)+1)
			if last < first || last >= 0x80 || int(p) > len(data) {
				w.fail(table-2, badTable)
				return
			}
			if first <= '*' && '*' <= last {
				if child := binary.BigEndian.Uint32(data[table+4*uint32('*'-first):]); child&nodeOffset != 0 {
					w.star(child, child&nodeOffset, k)
				}
			}
			if first <= '?' && '?' <= last && k < len(key) {
				if child := binary.BigEndian.Uint32(data[table+4*uint32('?'-first):]); child&nodeOffset != 0 {
					w.node(child, child&nodeOffset, k+1)
				}
			}
			if first <= '[' && '[' <= last && k < len(key) {
				if child := binary.BigEndian.Uint32(data[table+4*uint32('['-first):]); child&nodeOffset != 0 {
					w.set(child, child&nodeOffset, k)
				}
			}
			if k < len(key) {
				if c := key[k]; first <= c && c <= last && !special[c] {
					next = binary.BigEndian.Uint32(data[table+4*uint32(c-first):])
				}
			}
		}
		if k == len(key) {
			if ref&nodeValues != 0 {
				w.emit(p)
			}
			return
		}
		if next&nodeOffset == 0 {
			return
		}
		ref, p = next, next&nodeOffset
		k++
	}
}

// star matches what follows a star, at every position of the key from k on.
func (w *walk) star(ref, p uint32, k int) {
	if w.fault != noFault {
		return
	}
	for _, seen := range w.starBuf[:w.stars] {
		if seen == p {
			return
		}
	}
	if w.stars < len(w.starBuf) {
		w.starBuf[w.stars] = p
		w.stars++
	} else if !w.starAmongMore(p) {
		return
	}
	data, key := w.data, w.key
	for ref&nodePrefix != 0 {
		q := p
		for int(q) < len(data) && !special[data[q]] {
			q++
		}
		if int(q) >= len(data) {
			w.fail(p, prefixEndless)
			return
		}
		text := data[p:q]
		if data[q] == '*' { // from star to star the first place where the text is will do
			i := findText(key[k:], text)
			if i < 0 {
				return
			}
			k += i + len(text)
			p = q + 1
			continue
		}
		if data[q] == 0 && ref&nodeChildren == 0 { // the key's end
			if bytes.HasSuffix(key[k:], text) && ref&nodeValues != 0 {
				w.emit(q + 1)
			}
			return
		}
		if len(text) == 0 && data[q] == 0 {
			p++
			break
		}
		for at := k; at <= len(key); at++ {
			if len(text) > 0 {
				i := bytes.IndexByte(key[at:], text[0])
				if i < 0 {
					return
				}
				at += i
			}
			w.node(ref, p, at)
		}
		return
	}
	if ref&nodeChildren != 0 {
		if int(p)+2 > len(data) {
			w.fail(p, fileEnds)
			return
		}
		first, last := data[p], data[p+1]
		table := p + 2
		p = table + 4*(uint32(last)-uint32(first)+1)
		if last < first || int(p) > len(data) {
			w.fail(table-2, badTable)
			return
		}
		if first <= '*' && '*' <= last {
			if child := binary.BigEndian.Uint32(data[table+4*uint32('*'-first):]); child&nodeOffset != 0 {
				w.star(child, child&nodeOffset, k)
			}
		}
		any, set := uint32(0), uint32(0)
		if first <= '?' && '?' <= last {
			any = binary.BigEndian.Uint32(data[table+4*uint32('?'-first):])
		}
		if first <= '[' && '[' <= last {
			set = binary.BigEndian.Uint32(data[table+4*uint32('['-first):])
		}
		if first == last && any|set == 0 { // one way on: jump to where the key has that byte
			child := binary.BigEndian.Uint32(data[table:])
			for at := k; first != '*' && child&nodeOffset != 0; {
				i := bytes.IndexByte(key[at:], first)
				if i < 0 {
					break
				}
				at += i + 1
				w.node(child, child&nodeOffset, at)
			}
		} else {
			for at := k; at < len(key); at++ {
				if any&nodeOffset != 0 {
					w.node(any, any&nodeOffset, at+1)
				}
				if set&nodeOffset != 0 {
					w.set(set, set&nodeOffset, at)
				}
				if c := key[at]; first <= c && c <= last && !special[c] {
					if child := binary.BigEndian.Uint32(data[table+4*uint32(c-first):]); child&nodeOffset != 0 {
						w.node(child, child&nodeOffset, at+1)
					}
				}
			}
		}
	}
	if ref&nodeValues != 0 {
		w.emit(p)
	}
}

// findText is bytes.Index for texts of a few bytes.
func findText(s, text []byte) int {
	if len(text) == 0 {
		return 0
	}
	for from := 0; ; {
		i := bytes.IndexByte(s[from:], text[0])
		if i < 0 || len(s)-from-i < len(text) {
			return -1
		}
		from += i
		if string(s[from:from+len(text)]) == string(text) {
			return from
		}
		from++
	}
}

// special are the bytes that end literal text in a prefix.
var special = [256]bool{0: true, '*': true, '?': true, '[': true}

// starAmongMore takes in a star that has no place among the first, and reports whether it is new.
func (w *walk) starAmongMore(p uint32) bool {
	if slices.Contains(w.moreStars, p) {
		return false
	}
	more := make([]uint32, len(w.moreStars)+1)
	copy(more, w.moreStars)
	more[len(w.moreStars)] = p
	w.moreStars = more
	if w.steps += len(more) / 8; len(more) > maxStars {
		w.fail(p, tooManyStars)
		return false
	}
	return true
}

// maxSet bounds a set's length, brackets included: a longer one matches nothing. The longest in use, [0-9a-fA-F], has eleven bytes.
const maxSet = 256

// set matches a set, whose opening bracket lies behind, against the key's byte at k. The set may branch: [01] and [02] share a node.
func (w *walk) set(ref, p uint32, k int) {
	if k < len(w.key) && w.fault == noFault {
		var text [maxSet]byte
		w.setFrom(ref, p, k, &text, 0)
	}
}

func (w *walk) setFrom(ref, p uint32, k int, text *[maxSet]byte, n int) {
	if w.steps++; w.steps > maxSteps {
		w.fail(p, circle)
		return
	}
	data := w.data
	if ref&nodePrefix != 0 {
		for {
			if int(p) >= len(data) {
				w.fail(p, prefixEndless)
				return
			}
			c := data[p]
			p++
			if c == 0 {
				break
			}
			if n == maxSet {
				return
			}
			text[n] = c
			n++
			if c == ']' && closesSet(text[:n]) {
				if inSet(text[:n], w.key[k]) {
					w.node(ref, p, k+1)
				}
				return
			}
		}
	}
	if ref&nodeChildren == 0 {
		return // a bracket that is never closed matches nothing
	}
	if int(p)+2 > len(data) {
		w.fail(p, fileEnds)
		return
	}
	first, last := data[p], data[p+1]
	table := p + 2
	if last < first || int(table)+4*(int(last)-int(first)+1) > len(data) {
		w.fail(p, badTable)
		return
	}
	if n == maxSet {
		return
	}
	for c := int(first); c <= int(last); c++ {
		child := binary.BigEndian.Uint32(data[table+4*uint32(c-int(first)):])
		if child&nodeOffset == 0 {
			continue
		}
		text[n] = byte(c)
		if c == ']' && closesSet(text[:n+1]) {
			if inSet(text[:n+1], w.key[k]) {
				w.node(child, child&nodeOffset, k+1)
			}
			continue
		}
		w.setFrom(child, child&nodeOffset, k, text, n+1)
	}
}

// closesSet says whether the bracket at the end of text closes the set: right after the opening, or after its negation, it is a member.
func closesSet(text []byte) bool {
	n := len(text) - 1
	return n > 1 || n == 1 && text[0] != '!' && text[0] != '^'
}

// inSet says whether c is in a set, given from behind its opening bracket to its closing one: single bytes and ranges, ! or ^ in front
// for all others.
func inSet(text []byte, c byte) bool {
	text = text[:len(text)-1]
	not := false
	if len(text) > 0 && (text[0] == '!' || text[0] == '^') {
		not, text = true, text[1:]
	}
	for len(text) > 0 {
		lo, hi := text[0], text[0]
		if len(text) > 2 && text[1] == '-' {
			hi, text = text[2], text[2:]
		}
		text = text[1:]
		if lo <= c && c <= hi {
			return !not
		}
	}
	return not
}

// room makes room for one more hit.
func (w *walk) room() {
	size := len(w.hitBuf)
	if w.moreHits != nil {
		size = len(w.moreHits)
	}
	if w.count == size {
		more := make([]hit, 4*size)
		copy(more, w.hits())
		w.moreHits = more
	}
}

// emit takes in a node's values, which stand at p, each at its priority's place: before those of the same priority, as kmod does.
func (w *walk) emit(p uint32) {
	if int(p)+4 > len(w.data) {
		w.fail(p, fileEnds)
		return
	}
	n := binary.BigEndian.Uint32(w.data[p:])
	p += 4
	for ; n > 0; n-- {
		if int(p)+5 > len(w.data) {
			w.fail(p, valuesEnd)
			return
		}
		h := hit{binary.BigEndian.Uint32(w.data[p:]), p + 4}
		w.room()
		w.count++
		hits := w.hits()
		i := len(hits) - 1
		for i > 0 && hits[i-1].priority >= h.priority {
			w.ties = w.ties || hits[i-1].priority == h.priority
			i--
		}
		copy(hits[i+1:], hits[i:])
		hits[i] = h
		if n == 1 {
			return
		}
		end := bytes.IndexByte(w.data[p+4:], 0)
		if end < 0 {
			w.fail(p+4, valueEndless)
			return
		}
		p += 4 + uint32(end) + 1
	}
}

// A hit is a value that was found: where it lies in the file, and its priority.
type hit struct {
	priority uint32
	offset   uint32
}

// search finds the values of every pattern that matches w's key in w's data, which are t's, in order of priority: see [walk.hits]. Equal
// priorities come in the order in which kmod gives them.
func (t *trie) search(w *walk) (err error) {
	if t.root&^uint32(nodeOffset) == 0 {
		return nil
	}
	if t.files {
		defer t.guard(debug.SetPanicOnFault(true), &err)
	}
	w.node(t.root, t.root&nodeOffset, 0)
	if w.fault != noFault {
		return t.damaged(w.at, w.fault.String())
	}
	if w.ties {
		return t.orderTies(string(w.key), w.hits())
	}
	return nil
}
