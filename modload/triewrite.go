package modload

import (
	"encoding/binary"
	"fmt"
)

// A trieBuilder makes a binary index in memory, the same to the byte as kmod 30's depmod makes it of the same insertions; see [trie]
// for the format. Its zero value is an empty index.
type trieBuilder struct {
	root buildNode
}

type buildNode struct {
	prefix   string
	values   []buildValue
	children []*buildNode // from first on
	first    byte
}

type buildValue struct {
	priority uint32
	text     string
}

// insert adds a value below a key; among values of one key the lower priority comes first, and of one priority the later. It reports
// whether the key had that very value before. Only 7-bit keys can be told apart in the format: others are refused.
func (b *trieBuilder) insert(key, value string, priority uint32) (duplicate bool, err error) {
	for i := range len(key) {
		if key[i] >= 0x80 || key[i] == 0 {
			return false, fmt.Errorf("key %q: byte %#x is not ASCII", key, key[i])
		}
	}
	n := &b.root
	for {
		common := 0
		for common < len(n.prefix) && common < len(key) && n.prefix[common] == key[common] {
			common++
		}
		if common < len(n.prefix) {
			rest := *n
			rest.prefix = n.prefix[common+1:]
			*n = buildNode{prefix: n.prefix[:common], first: n.prefix[common], children: []*buildNode{&rest}}
		}
		key = key[common:]
		if key == "" {
			return n.add(value, priority), nil
		}
		child := n.child(key[0])
		if *child == nil {
			*child = &buildNode{prefix: key[1:], values: []buildValue{{priority, value}}}
			return false, nil
		}
		n, key = *child, key[1:]
	}
}

// child is the place for the child at c, made when there is none.
func (n *buildNode) child(c byte) **buildNode {
	switch {
	case len(n.children) == 0:
		n.first, n.children = c, make([]*buildNode, 1, 2)
	case c < n.first:
		grown := make([]*buildNode, int(n.first-c)+len(n.children))
		copy(grown[n.first-c:], n.children)
		n.first, n.children = c, grown
	case int(c-n.first) >= len(n.children):
		for int(c-n.first) >= len(n.children) {
			n.children = append(n.children, nil)
		}
	}
	return &n.children[c-n.first]
}

func (n *buildNode) add(value string, priority uint32) (duplicate bool) {
	at := len(n.values)
	for i := len(n.values) - 1; i >= 0; i-- {
		duplicate = duplicate || n.values[i].text == value
		if n.values[i].priority >= priority {
			at = i
		}
	}
	n.values = append(n.values, buildValue{})
	copy(n.values[at+1:], n.values[at:])
	n.values[at] = buildValue{priority, value}
	return duplicate
}

// bytes is the whole file.
func (b *trieBuilder) bytes() []byte {
	out := binary.BigEndian.AppendUint32(nil, trieMagic)
	out = binary.BigEndian.AppendUint32(out, trieVersion)
	out = append(out, 0, 0, 0, 0)
	out, root := b.root.encode(out)
	binary.BigEndian.PutUint32(out[8:], root)
	return out
}

// encode appends the node, its children before it, and returns the reference to it.
func (n *buildNode) encode(out []byte) ([]byte, uint32) {
	var refs []uint32
	if len(n.children) > 0 {
		refs = make([]uint32, len(n.children))
		for i, c := range n.children {
			if c != nil {
				out, refs[i] = c.encode(out)
			}
		}
	}
	ref := uint32(len(out))
	if n.prefix != "" {
		ref |= refPrefix
		out = append(append(out, n.prefix...), 0)
	}
	if len(refs) > 0 {
		ref |= refChildren
		out = append(out, n.first, n.first+byte(len(refs)-1))
		for _, r := range refs {
			out = binary.BigEndian.AppendUint32(out, r)
		}
	}
	if len(n.values) > 0 {
		ref |= refValues
		out = binary.BigEndian.AppendUint32(out, uint32(len(n.values)))
		for _, v := range n.values {
			out = binary.BigEndian.AppendUint32(out, v.priority)
			out = append(append(out, v.text...), 0)
		}
	}
	return out, ref
}
