package modload

import (
	"bytes"
	"encoding/binary"
)

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
	if len(c.text) > 2*len(c.t.data) {
		return 0, errNotCompiled
	}
	length := uint8(literal)
	if n.children == 0 && 0 < n.count && n.count < 256 && (literal == len(prefix) || prefix[literal] == '*' && bytes.IndexAny(prefix[literal:], "?[") < 0) {
		tail, err := c.tail(prefix[literal:])
		if err != nil {
			return 0, err
		}
		values, err := c.values(&n)
		c.a.leaves = append(c.a.leaves, leaf{text, values, tail, length, uint8(n.count)})
		return leafBit | uint32(len(c.a.leaves)-1), err
	}
	made := node{text: text, length: length}
	if literal < len(prefix) {
		return c.choice(made, []way{{prefix[literal], ref, p + uint32(literal) + 1}}, depth)
	}
	made.count = uint16(n.count)
	if made.values, err = c.values(&n); err != nil {
		return 0, err
	}
	ways, err := c.ways(&n)
	if err != nil {
		return 0, err
	}
	return c.choice(made, ways, depth)
}

// ways are what leads on from a node, in the bytes' order.
func (c *compiler) ways(n *trieNode) ([]way, error) {
	var ways []way
	for i := range n.children {
		by := int(n.first) + i
		child := binary.BigEndian.Uint32(c.t.data[n.table+4*uint32(i):])
		if child&nodeOffset == 0 {
			continue
		}
		if by >= 0x80 || by == 0 {
			return nil, errNotCompiled
		}
		ways = append(ways, way{byte(by), child, child & nodeOffset})
	}
	return ways, nil
}

// choice compiles a node with the ways that lead on from it.
func (c *compiler) choice(made node, ways []way, depth int) (uint32, error) {
	place := len(c.a.nodes)
	c.a.nodes = append(c.a.nodes, node{})
	made.kids = uint32(len(c.a.kids))
	c.a.kids = append(c.a.kids, make([]uint32, len(ways))...)
	for i, w := range ways {
		if w.by >= 0x80 {
			return 0, errNotCompiled
		}
		made.bits[w.by>>6] |= 1 << (w.by & 63)
		if w.by < 64 {
			made.low++
		}
		var kid uint32
		var err error
		switch w.by {
		case '[':
			kid, err = c.sets(w.ref, w.p, depth)
		default:
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
