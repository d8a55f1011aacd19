package modload

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// indexEntry is one line of an index to be written: a value under a key, with its priority.
type indexEntry struct {
	key, value string
	priority   uint32
	seq        uint32 // order of insertion: of two entries of equal key and priority, the later comes first
}

// sortIndex brings entries into the index's order and calls duplicate for each that repeats another's key and value.
func sortIndex(entries []indexEntry, duplicate func(indexEntry)) {
	order := make([]*indexEntry, len(entries)) // pointers share one sort in the program
	for i := range order {
		order[i] = &entries[i]
	}
	slices.SortFunc(order, func(a, b *indexEntry) int {
		if c := cmp.Compare(a.key, b.key); c != 0 {
			return c
		}
		if c := cmp.Compare(a.priority, b.priority); c != 0 {
			return c
		}
		return cmp.Compare(b.seq, a.seq)
	})
	sorted := make([]indexEntry, len(entries))
	for i, e := range order {
		sorted[i] = *e
	}
	copy(entries, sorted)
	if duplicate == nil {
		return
	}
	for i := range entries {
		for j := i + 1; j < len(entries) && entries[j].key == entries[i].key; j++ {
			if entries[j].value == entries[i].value {
				duplicate(entries[j])
				break
			}
		}
	}
}

const (
	indexMagic   = 0xb007f457
	indexVersion = 0x00020001

	nodePrefix   = 0x80000000
	nodeValues   = 0x40000000
	nodeChildren = 0x20000000
)

// appendIndex appends the binary index of sorted entries to b, which must be empty. Children are written before their parent, in the
// order of their byte; the root has no prefix even where all keys share one.
//
// Format: kmod, libkmod-index.c.
func appendIndex(b []byte, entries []indexEntry) []byte {
	b = binary.BigEndian.AppendUint32(b, indexMagic)
	b = binary.BigEndian.AppendUint32(b, indexVersion)
	b = binary.BigEndian.AppendUint32(b, 0)
	w := indexWriter{out: b}
	root := w.node(entries, 0, true)
	binary.BigEndian.PutUint32(w.out[8:], root)
	return w.out
}

type indexWriter struct{ out []byte }

// node writes the node of all these entries, whose keys agree in their first depth bytes, and returns its offset with its flags.
func (w *indexWriter) node(entries []indexEntry, depth int, root bool) uint32 {
	var prefix string
	if len(entries) > 0 && !root {
		first, last := entries[0].key[depth:], entries[len(entries)-1].key[depth:]
		n := 0
		for n < len(first) && n < len(last) && first[n] == last[n] {
			n++
		}
		prefix = first[:n]
	}
	depth += len(prefix)
	values := 0
	for values < len(entries) && len(entries[values].key) == depth {
		values++
	}

	var children [128]uint32
	rest := entries[values:]
	var low, high byte
	if len(rest) > 0 {
		low, high = rest[0].key[depth], rest[len(rest)-1].key[depth]
	}
	for len(rest) > 0 {
		c := rest[0].key[depth]
		n := 1
		for n < len(rest) && rest[n].key[depth] == c {
			n++
		}
		children[c] = w.node(rest[:n], depth+1, false)
		rest = rest[n:]
	}

	offset := uint32(len(w.out))
	if prefix != "" {
		w.out = append(append(w.out, prefix...), 0)
		offset |= nodePrefix
	}
	if values < len(entries) {
		w.out = append(w.out, low, high)
		for _, o := range children[low : int(high)+1] {
			w.out = binary.BigEndian.AppendUint32(w.out, o)
		}
		offset |= nodeChildren
	}
	if values > 0 {
		w.out = binary.BigEndian.AppendUint32(w.out, uint32(values))
		for _, e := range entries[:values] {
			w.out = binary.BigEndian.AppendUint32(w.out, e.priority)
			w.out = append(append(w.out, e.value...), 0)
		}
		offset |= nodeValues
	}
	return offset
}

// indexable says whether a string can be in an index: 7 bits a character, and no NUL.
func indexable(s string) bool {
	for i := range len(s) {
		if s[i] >= 128 || s[i] == 0 {
			return false
		}
	}
	return true
}

// normalizeAlias writes '_' for '-' outside brackets, as every look-up does; false when a bracket has no partner.
func normalizeAlias(alias string) (string, bool) {
	var b []byte
	for i := 0; i < len(alias); i++ {
		switch alias[i] {
		case '-':
			if b == nil {
				b = []byte(alias)
			}
			b[i] = '_'
		case ']':
			return "", false
		case '[':
			n := bytes.IndexByte([]byte(alias[i:]), ']')
			if n < 0 {
				return "", false
			}
			i += n
		}
	}
	if b == nil {
		return alias, true
	}
	return string(b), true
}
