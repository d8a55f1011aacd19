package modload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"strings"
)

// compileAfter is the number of look-ups in an index after which it is compiled: about as many as take as long as compiling. A start of
// the machine has fewer, and pays neither the time nor the memory.
const compileAfter = 4096

// errNotCompiled says that an index is used as it is: it is damaged, which the walk reports when it comes to the place, or it holds what
// no depmod writes.
var errNotCompiled = errors.New("left as it is")

// A compiler makes an automaton of a trie, node by node: without a list of the patterns, which would take some times the memory.
type compiler struct {
	t       *trie
	a       automaton
	text    []byte
	tails   map[string]uint16
	modules map[string]uint32
	scratch []byte
	steps   int
}

// compile makes the automaton of an index.
func (t *trie) compile() (_ *automaton, err error) {
	if t.files {
		defer t.guard(debug.SetPanicOnFault(true), &err)
	}
	if t.root&^uint32(nodeOffset) == 0 {
		return nil, errNotCompiled
	}
	c := compiler{t: t, tails: map[string]uint16{}, modules: map[string]uint32{}}
	size := len(t.data) // what follows is about what depmod's indexes need, so that growing leaves little to collect
	c.a.nodes = make([]node, 0, size/85)
	c.a.kids = make([]uint32, 0, size/31)
	c.a.leaves = make([]leaf, 0, size/50)
	c.a.values = make([]value, 0, size/46)
	c.text = make([]byte, 0, size/14)
	c.a.tails = []tail{{}} // the number 0 is for patterns without a star at their end
	root, err := c.node(t.root, t.root&nodeOffset, 0)
	if err != nil {
		return nil, err
	}
	a := &automaton{root: root, text: string(c.text)}
	a.nodes = append([]node(nil), c.a.nodes...)
	a.kids = append([]uint32(nil), c.a.kids...)
	a.leaves = append([]leaf(nil), c.a.leaves...)
	a.sets = append([]setKid(nil), c.a.sets...)
	a.values = append([]value(nil), c.a.values...)
	a.modules = append([]rankedName(nil), c.a.modules...)
	a.tails = append([]tail(nil), c.a.tails...)
	return a, nil
}

// compileKeys makes a map of the keys of an index in which nobody looks for wildcards.
func (t *trie) compileKeys() {
	keys := map[string]string{}
	if t.all(func(key string, _ uint32, _ string) bool {
		if _, ok := keys[key]; !ok {
			key = strings.Clone(key)
			keys[key] = key
		}
		return true
	}) == nil {
		t.keys.Store(&keys)
	}
}

// node compiles what lies below an offset in a node's prefix, or the node's own where it has none, and returns the reference to it.
func (c *compiler) node(ref, p uint32, depth int) (uint32, error) {
	if c.steps++; c.steps > len(c.t.data) || depth > 4096 {
		return 0, errNotCompiled
	}
	n, err := c.t.read(ref)
	if err != nil {
		return 0, err
	}
	prefix := c.t.data[p:n.prefixEnd]
	literal := 0
	for literal < len(prefix) && literal < 255 && !special[prefix[literal]] {
		if prefix[literal] >= 0x80 {
			return 0, errNotCompiled
		}
		literal++
	}
	text := uint32(len(c.text))
	c.text = append(c.text, prefix[:literal]...)
	if len(c.text) > len(c.t.data) {
		return 0, errNotCompiled
	}
	if n.children == 0 && 0 < n.count && n.count < 256 && (literal == len(prefix) || prefix[literal] == '*' && bytes.IndexAny(prefix[literal:], "?[") < 0) {
		tail, err := c.tail(prefix[literal:])
		if err != nil {
			return 0, err
		}
		values, err := c.values(&n)
		c.a.leaves = append(c.a.leaves, leaf{text, values, tail, uint8(literal), uint8(n.count)})
		return leafBit | uint32(len(c.a.leaves)-1), err
	}
	place := len(c.a.nodes)
	made := node{text: text, length: uint8(literal), kids: uint32(len(c.a.kids))}
	c.a.nodes = append(c.a.nodes, made)

	type way struct{ ref, p uint32 }
	var ways [128]way
	var table []byte // the bytes that lead on, in order
	if literal < len(prefix) {
		b := prefix[literal]
		ways[b&0x7F] = way{ref, p + uint32(literal) + 1}
		table = append(c.scratch[:0:0], b)
	} else {
		if n.count > 0xFFFF {
			return 0, errNotCompiled
		}
		made.count = uint16(n.count)
		if made.values, err = c.values(&n); err != nil {
			return 0, err
		}
		for i := range n.children {
			b := int(n.first) + i
			child := binary.BigEndian.Uint32(c.t.data[n.table+4*uint32(i):])
			if child&nodeOffset == 0 {
				continue
			}
			if b >= 0x80 || b == 0 {
				return 0, errNotCompiled
			}
			ways[b] = way{child, child & nodeOffset}
			table = append(table, byte(b))
		}
	}
	for _, b := range table {
		if b >= 0x80 {
			return 0, errNotCompiled
		}
		made.bits[b>>6] |= 1 << (b & 63)
		if b < 64 {
			made.low++
		}
	}
	c.a.kids = append(c.a.kids, make([]uint32, len(table))...)
	for i, b := range table {
		w := ways[b]
		var kid uint32
		if b == '[' {
			kid, err = c.sets(w.ref, w.p, depth)
		} else {
			kid, err = c.node(w.ref, w.p, depth+1)
		}
		if err != nil {
			return 0, err
		}
		c.a.kids[int(made.kids)+i] = kid
	}
	c.a.nodes[place] = made
	return uint32(place), nil
}

// values takes in a node's values, and returns the place of the first.
func (c *compiler) values(n *trieNode) (uint32, error) {
	first := uint32(len(c.a.values))
	at := n.values + 4
	for range n.count {
		if int(at)+4 > len(c.t.data) {
			return 0, errNotCompiled
		}
		name, err := c.t.value(at + 4)
		if err != nil {
			return 0, err
		}
		c.scratch = append(append(c.scratch[:0], c.t.data[at:at+4]...), name...)
		module, ok := c.modules[string(c.scratch)]
		if !ok {
			module = uint32(len(c.a.modules))
			c.modules[string(c.scratch)] = module
			c.a.modules = append(c.a.modules, rankedName{string(name), binary.BigEndian.Uint32(c.t.data[at:])})
		}
		c.a.values = append(c.a.values, value{at + 4, module})
		at += 4 + uint32(len(name)) + 1
	}
	if len(c.a.values) > len(c.t.data) {
		return 0, errNotCompiled
	}
	return first, nil
}

// tail returns the number of a pattern's end: of nothing, 0.
func (c *compiler) tail(text []byte) (uint16, error) {
	if len(text) == 0 {
		return 0, nil
	}
	if i, ok := c.tails[string(text)]; ok {
		return i, nil
	}
	if len(c.a.tails) == 1<<16 {
		return 0, errNotCompiled
	}
	t := tail{open: text[len(text)-1] == '*'}
	for _, b := range text {
		if b >= 0x80 {
			return 0, errNotCompiled
		}
	}
	for part := range strings.SplitSeq(string(text), "*") {
		if part != "" {
			t.parts = append(t.parts, part)
		}
	}
	i := uint16(len(c.a.tails))
	c.a.tails = append(c.a.tails, t)
	c.tails[string(text)] = i
	return i, nil
}

// A setEnding is a set in a pattern, and where the pattern goes on.
type setEnding struct {
	text   string // from behind the opening bracket, with the closing one
	ref, p uint32
}

// sets compiles the sets whose opening bracket lies behind, and returns the place of the first.
func (c *compiler) sets(ref, p uint32, depth int) (uint32, error) {
	endings, err := c.endings(nil, ref, p, nil, depth)
	if err != nil || len(endings) == 0 {
		return 0, errNotCompiled // a bracket that is never closed
	}
	first := len(c.a.sets)
	c.a.sets = append(c.a.sets, make([]setKid, len(endings))...)
	for i, e := range endings {
		kid, err := c.node(e.ref, e.p, depth+1)
		if err != nil {
			return 0, err
		}
		s := setKid{kid: kid, last: i == len(endings)-1, high: inSet([]byte(e.text), 0x80)}
		for b := range byte(0x80) {
			if inSet([]byte(e.text), b) {
				s.bits[b>>6] |= 1 << (b & 63)
			}
		}
		c.a.sets[first+i] = s
	}
	return uint32(first), nil
}

func (c *compiler) endings(list []setEnding, ref, p uint32, text []byte, depth int) ([]setEnding, error) {
	if c.steps++; c.steps > len(c.t.data) || depth > 4096 {
		return nil, errNotCompiled
	}
	n, err := c.t.read(ref)
	if err != nil {
		return nil, err
	}
	for ; p < n.prefixEnd; p++ {
		b := c.t.data[p]
		if b >= 0x80 || len(text) == maxSet {
			return nil, errNotCompiled
		}
		if text = append(text, b); b == ']' && closesSet(text) {
			return append(list, setEnding{string(text), ref, p + 1}), nil
		}
	}
	if n.count > 0 || n.children == 0 {
		return nil, errNotCompiled
	}
	for i := range n.children {
		b := n.first + byte(i)
		child := binary.BigEndian.Uint32(c.t.data[n.table+4*uint32(i):])
		if child&nodeOffset == 0 {
			continue
		}
		if b >= 0x80 || len(text) == maxSet {
			return nil, errNotCompiled
		}
		text := append(text[:len(text):len(text)], b)
		if b == ']' && closesSet(text) {
			list = append(list, setEnding{string(text), child, child & nodeOffset})
		} else if list, err = c.endings(list, child, child&nodeOffset, text, depth+1); err != nil {
			return nil, err
		}
	}
	return list, nil
}
