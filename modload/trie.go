package modload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"
)

// A trie is one of kmod's binary indexes, modules.alias.bin and its fellows, looked up where it lies: nothing is compiled
// before the first answer, and nothing is allocated for one.
//
// Format (kmod, libkmod-index.c; all numbers are big-endian): magic, version, and the root's reference. A reference is a node's offset
// with three flags in its high bits, which say which parts the node has: a prefix (NUL-terminated), children (first and last
// byte, then a reference for each byte between, 0 where there is none), values (their count, then for each its priority and a
// NUL-terminated string). Keys are 7-bit.
//
// A key is a pattern of fnmatch(3): *, ? and [set]. kmod descends to the first wildcard and then tries fnmatch on every key below it.
// Here wildcards are matched on the way down: see [walk.node].
type trie struct {
	name  string // the file, for messages
	files bool   // data is a file's own memory, which goes when somebody truncates the file
	data  []byte
	root  uint32
	names interner
}

const (
	nodeOffset = 0x0FFFFFFF // the rest of a reference

	// maxSteps bounds the work for one look-up in a damaged file. The most that a real tree's patterns take is some thousands.
	maxSteps = 1 << 18
	maxStars = 1 << 13
)

// A DamagedIndexError says where an index file makes no sense. Whoever reads it goes on with the text file beside it.
type DamagedIndexError struct {
	File   string
	Offset int64
	What   string
}

func (e *DamagedIndexError) Error() string {
	return fmt.Sprintf("%s: damaged at offset %d: %s", e.File, e.Offset, e.What)
}

// newTrie checks the header. What lies behind it is checked as it is read.
func newTrie(name string, data []byte) (*trie, error) {
	if len(data) < 12 {
		return nil, &DamagedIndexError{name, int64(len(data)), "the file ends within its header"}
	}
	if m := binary.BigEndian.Uint32(data); m != indexMagic {
		return nil, &DamagedIndexError{name, 0, fmt.Sprintf("magic number is %#08x, not %#08x", m, uint32(indexMagic))}
	}
	if v := binary.BigEndian.Uint32(data[4:]); v>>16 != indexVersion>>16 {
		return nil, &DamagedIndexError{name, 4, fmt.Sprintf("version is %d.%d, not 2", v>>16, v&0xffff)}
	}
	if len(data) > nodeOffset {
		return nil, &DamagedIndexError{name, nodeOffset, "the file is larger than its offsets can say"}
	}
	t := &trie{name: name, data: data, root: binary.BigEndian.Uint32(data[8:])}
	if off := t.root & nodeOffset; off < 12 || int(off) >= len(data) {
		if t.root&^nodeOffset == 0 && int(off) == len(data) {
			return t, nil // an index of nothing: its root has no parts
		}
		return nil, &DamagedIndexError{name, 8, fmt.Sprintf("the root lies at %d, outside of the file", off)}
	}
	return t, nil
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

// exact finds the values of one key, wildcards being nothing special in it.
func (t *trie) exact(key string) (values uint32, found bool, err error) {
	if t.files {
		defer t.guard(debug.SetPanicOnFault(true), &err)
	}
	ref := t.root
	for {
		p := ref & nodeOffset
		if int(p) >= len(t.data) {
			if ref&^uint32(nodeOffset) == 0 {
				return 0, false, nil
			}
			return 0, false, t.damaged(p, "the file ends")
		}
		if ref&nodePrefix != 0 {
			for ; ; p++ {
				if int(p) >= len(t.data) {
					return 0, false, t.damaged(p, "a prefix has no end")
				}
				c := t.data[p]
				if c == 0 {
					p++
					break
				}
				if key == "" || key[0] != c {
					return 0, false, nil
				}
				key = key[1:]
			}
		}
		var table uint32
		var first, last byte
		if ref&nodeChildren != 0 {
			if int(p)+2 > len(t.data) {
				return 0, false, t.damaged(p, "the file ends")
			}
			first, last = t.data[p], t.data[p+1]
			table = p + 2
			if last < first || int(table)+4*(int(last-first)+1) > len(t.data) {
				return 0, false, t.damaged(p, "the table of children is damaged")
			}
			p = table + 4*(uint32(last-first)+1)
		}
		if key == "" {
			return p, ref&nodeValues != 0, nil
		}
		c := key[0]
		if table == 0 || c < first || c > last {
			return 0, false, nil
		}
		ref = binary.BigEndian.Uint32(t.data[table+4*uint32(c-first):])
		if ref&nodeOffset == 0 {
			return 0, false, nil
		}
		key = key[1:] // so a damaged file cannot hold us for longer than the key is
	}
}

func (t *trie) damaged(at uint32, what string) error {
	return &DamagedIndexError{t.name, int64(at), what}
}

// guard turns a fault in reading the file, which somebody truncates or whose disk fails, into an error. It is deferred.
func (t *trie) guard(old bool, err *error) {
	debug.SetPanicOnFault(old)
	switch r := recover().(type) {
	case nil:
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		base := uintptr(unsafe.Pointer(unsafe.SliceData(t.data)))
		if r.Addr() < base || r.Addr() >= base+uintptr(len(t.data)) {
			panic(r)
		}
		*err = t.damaged(uint32(r.Addr()-base), "the file can no longer be read")
	default:
		panic(r)
	}
}

// lookup returns the first value of one key, found without wildcards.
func (t *trie) lookup(key string) (value string, found bool, err error) {
	at, found, err := t.exact(key)
	if !found || err != nil {
		return "", false, err
	}
	if t.files {
		defer t.guard(debug.SetPanicOnFault(true), &err)
	}
	if int(at)+8 > len(t.data) {
		return "", false, t.damaged(at, "the file ends within a list of values")
	}
	if binary.BigEndian.Uint32(t.data[at:]) == 0 {
		return "", false, nil
	}
	b, err := t.value(at + 8)
	return string(b), err == nil, err
}

// value is the string at an offset, in the file's own memory.
func (t *trie) value(at uint32) (_ []byte, err error) {
	if t.files {
		defer t.guard(debug.SetPanicOnFault(true), &err)
	}
	if int(at) < len(t.data) {
		if n := bytes.IndexByte(t.data[at:], 0); n >= 0 {
			return t.data[at : int(at)+n], nil
		}
	}
	return nil, t.damaged(at, "a value has no end")
}

// module is the string at an offset, in memory that outlives the file's.
func (t *trie) module(at uint32) (string, error) {
	if s, ok := t.names.get(at); ok {
		return s, nil
	}
	b, err := t.value(at)
	if err != nil {
		return "", err
	}
	return t.names.put(at, string(b)), nil
}

// all calls f for every key and each of its values, keys in byte order. The strings are good for the call only.
func (t *trie) all(f func(key string, priority uint32, value string) bool) (err error) {
	if t.files {
		defer t.guard(debug.SetPanicOnFault(true), &err)
	}
	if t.root&^uint32(nodeOffset) == 0 {
		return nil
	}
	key := make([]byte, 0, 256)
	steps := 0
	var visit func(ref uint32, depth int) (bool, error)
	visit = func(ref uint32, depth int) (bool, error) {
		if steps++; steps > len(t.data) || depth > 4096 {
			return false, t.damaged(ref&nodeOffset, "nodes go round in a circle")
		}
		n, err := t.read(ref)
		if err != nil {
			return false, err
		}
		mark := len(key)
		key = append(key, t.data[n.prefix:n.prefixEnd]...)
		at := n.values + 4
		for range n.count {
			if int(at)+4 > len(t.data) {
				return false, t.damaged(at, "the file ends within a list of values")
			}
			v, err := t.value(at + 4)
			if err != nil {
				return false, err
			}
			if !f(unsafe.String(unsafe.SliceData(key), len(key)), binary.BigEndian.Uint32(t.data[at:]), unsafe.String(unsafe.SliceData(v), len(v))) {
				return false, nil
			}
			at += 4 + uint32(len(v)) + 1
		}
		for i := range n.children {
			child := binary.BigEndian.Uint32(t.data[n.table+4*uint32(i):])
			if child&nodeOffset == 0 {
				continue
			}
			key = append(key, n.first+byte(i))
			if more, err := visit(child, depth+1); !more {
				return false, err
			}
			key = key[:len(key)-1]
		}
		key = key[:mark]
		return true, nil
	}
	_, err = visit(t.root, 0)
	return err
}

// A trieNode is one node, its parts found and within the file.
type trieNode struct {
	prefix, prefixEnd uint32
	first             byte
	children          int    // entries in the table, empty ones with them
	table             uint32 // of references
	values            uint32 // where the count of values stands
	count             uint32
}

func (t *trie) read(ref uint32) (n trieNode, err error) {
	p := ref & nodeOffset
	if int(p) > len(t.data) {
		return n, t.damaged(p, "a reference points outside of the file")
	}
	n.prefix, n.prefixEnd = p, p
	if ref&nodePrefix != 0 {
		end := bytes.IndexByte(t.data[p:], 0)
		if end < 0 {
			return n, t.damaged(p, "a prefix has no end")
		}
		n.prefixEnd = p + uint32(end)
		p = n.prefixEnd + 1
	}
	if ref&nodeChildren != 0 {
		if int(p)+2 > len(t.data) || t.data[p+1] < t.data[p] {
			return n, t.damaged(p, "the table of children is damaged")
		}
		n.first, n.children, n.table = t.data[p], int(t.data[p+1]-t.data[p])+1, p+2
		p = n.table + 4*uint32(n.children)
		if int(p) > len(t.data) {
			return n, t.damaged(n.table, "the file ends within a table of children")
		}
	}
	if ref&nodeValues != 0 {
		if int(p)+4 > len(t.data) {
			return n, t.damaged(p, "the file ends")
		}
		n.values, n.count = p, binary.BigEndian.Uint32(t.data[p:])
		if uint64(n.count)*5 > uint64(len(t.data)) {
			return n, t.damaged(p, "more values than the file can hold")
		}
	}
	return n, nil
}

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
	hitBuf    [8]hit
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
	setEndless
	valuesEnd
	valueEndless
	notASCII
)

func (f fault) String() string {
	return [...]string{"nothing", "a prefix has no end", "nodes go round in a circle", "the file ends", "the table of children is damaged",
		"more stars than a look-up can pass", "a set of characters has no end", "the file ends within a list of values",
		"a value has no end", "a key's byte is not ASCII"}[f]
}

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

// maxSet bounds a set's length, brackets included. The longest in use, [0-9a-fA-F], has eleven.
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
				w.fail(p, setEndless)
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
		w.fail(p, setEndless)
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

// patternOf is the key below which the value at an offset lies, "" when there is none. It reads the whole index.
func (t *trie) patternOf(at uint32) string {
	pattern := ""
	_ = t.all(func(key string, _ uint32, value string) bool {
		if unsafe.StringData(value) == &t.data[at] {
			pattern = strings.Clone(key)
			return false
		}
		return true
	})
	return pattern
}

// orderTies puts values of one priority in the order in which kmod comes upon them, last first. That happens where different modules
// have one priority, as all of modules.builtin.alias.bin have; there it is rare too.
func (t *trie) orderTies(key string, hits []hit) error {
	differ := false
	for i := 1; i < len(hits) && !differ; i++ {
		if hits[i].priority != hits[i-1].priority {
			continue
		}
		a, err := t.value(hits[i-1].offset)
		if err != nil {
			return err
		}
		b, err := t.value(hits[i].offset)
		if err != nil {
			return err
		}
		differ = !bytes.Equal(a, b)
	}
	if !differ {
		return nil
	}
	patterns := make([]string, len(hits))
	for i, h := range hits {
		patterns[i] = t.patternOf(h.offset)
	}
	for i := 1; i < len(hits); i++ { // insertion: it is stable, and there are two or three
		for j := i; j > 0 && hits[j].priority == hits[j-1].priority && foundBefore(key, patterns[j-1], patterns[j]); j-- {
			hits[j], hits[j-1] = hits[j-1], hits[j]
			patterns[j], patterns[j-1] = patterns[j-1], patterns[j]
		}
	}
	return nil
}

// foundBefore says whether kmod, looking for key, comes upon the pattern a before b: wildcards in the order * ? [ before the byte itself,
// until the first wildcard; from there in byte order, what is longer before what it begins with.
func foundBefore(key, a, b string) bool {
	wild := false
	for i := 0; ; i++ {
		switch {
		case i == len(a):
			return false
		case i == len(b):
			return true
		}
		x, y := a[i], b[i]
		if x == y {
			wild = wild || x == '*' || x == '?' || x == '['
			continue
		}
		if !wild && i < len(key) && (x == key[i] || y == key[i]) {
			return y == key[i]
		}
		return x < y
	}
}

// An interner keeps strings by their offset in a file, so that names outlive the file. It only grows, by no more than the file holds; it is
// read without a lock. Its table is made in pieces, as they are needed: whoever asks once pays for one.
type interner struct {
	top atomic.Pointer[[256]atomic.Pointer[internPage]]
}

type internPage [32]atomic.Pointer[interned]

type interned struct {
	offset uint32
	text   string
	next   *interned
}

func (in *interner) get(offset uint32) (string, bool) {
	top := in.top.Load()
	if top == nil {
		return "", false
	}
	hash := offset * 0x9E3779B1
	page := top[hash>>24].Load()
	if page == nil {
		return "", false
	}
	for e := page[hash>>19&31].Load(); e != nil; e = e.next {
		if e.offset == offset {
			return e.text, true
		}
	}
	return "", false
}

func (in *interner) put(offset uint32, text string) string {
	if in.top.Load() == nil {
		in.top.CompareAndSwap(nil, new([256]atomic.Pointer[internPage]))
	}
	hash := offset * 0x9E3779B1
	page := &in.top.Load()[hash>>24]
	if page.Load() == nil {
		page.CompareAndSwap(nil, new(internPage))
	}
	slot := &page.Load()[hash>>19&31]
	for {
		head := slot.Load()
		if s, ok := in.get(offset); ok {
			return s
		}
		if slot.CompareAndSwap(head, &interned{offset, text, head}) {
			return text
		}
	}
}
