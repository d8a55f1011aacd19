package modload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"unsafe"
)

// A trie is one of kmod's binary indexes, modules.alias.bin and its fellows, looked up where it lies: nothing is compiled
// before the first answer, and nothing is allocated for one. Whoever goes on asking gets an [automaton].
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

	asked    atomic.Uint32 // look-ups made in the file
	compiled atomic.Pointer[automaton]
	keys     atomic.Pointer[map[string]string] // of look-ups without wildcards
}

const nodeOffset = 0x0FFFFFFF // the rest of a reference

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

//go:noinline // once in the program, not in each of its many callers
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
