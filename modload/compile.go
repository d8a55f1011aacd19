package modload

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"strings"
)

// compileAfter is the number of bytes of an index for which a look-up is to be made before it is compiled: about so many are compiled in
// the time of a look-up in the file. A start of the machine asks modules.alias.bin, of 1.3 MB, less often than that, and pays neither the
// time nor the memory.
const compileAfter = 320

// askedEnough counts a look-up, and says whether it is the one with which to compile the index.
func (t *trie) askedEnough() bool { return int(t.asked.Add(1)) == 1+len(t.data)/compileAfter }

// errNotCompiled says that an index is used as it is: it is damaged, which the walk reports when it comes to the place, or it holds what
// no depmod writes.
var errNotCompiled = errors.New("left as it is")

// A compiler makes an automaton of a trie, node by node: without a list of the patterns, which would take some times the memory.
type compiler struct {
	t       *trie
	a       *automaton
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
	c := compiler{t: t, a: &automaton{}, tails: map[string]uint16{}, modules: map[string]uint32{}}
	size := len(t.data) // what follows is about what depmod's indexes need, so that growing leaves little to collect
	c.a.heads = make([]head, 1, 1+size/60)
	c.a.values = make([]value, 0, size/46)
	c.text = make([]byte, 0, size/3)
	c.a.tails = []tail{{}, {open: true}} // the first is for patterns without a star at their end
	c.tails["*"] = anyTail
	if t.root&^uint32(nodeOffset) != 0 {
		if err := c.literal(t.root, t.root&nodeOffset, make([]byte, 0, maxHead), 0); err != nil {
			return nil, err
		}
	}
	c.a.text = string(append(c.text, 0, 0, 0, 0, 0, 0, 0, 0))
	if !c.a.build() {
		return nil, errNotCompiled
	}
	return c.a, nil
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

// A way leads from a node to a child, by a byte or a wildcard: to an offset in the child's prefix, or the child's own.
type way struct {
	by     byte
	ref, p uint32
}

// literal takes in the patterns of which text is the beginning, as far as ref and p have led. Where a wildcard follows, text is a head.
func (c *compiler) literal(ref, p uint32, text []byte, depth int) error {
	if c.steps++; c.steps > len(c.t.data) || depth > 4096 {
		return errNotCompiled
	}
	n, err := c.t.read(ref)
	if err != nil {
		return err
	}
	for ; p < n.prefixEnd && len(text) < maxHead; p++ {
		b := c.t.data[p]
		if special[b] {
			return c.behind(text, depth, true, way{b, ref, p + 1})
		}
		if b >= 0x80 {
			return errNotCompiled
		}
		text = append(text, b)
	}
	if len(text) == maxHead {
		rest, err := c.node(ref, p, depth)
		if err != nil {
			return err
		}
		return c.head(text, head{values: rest}, true)
	}
	if n.count > 0 {
		values, err := c.values(&n)
		if err == nil {
			err = c.head(text, head{values: values, count: uint16(n.count)}, true)
		}
		if err != nil {
			return err
		}
	}
	ways, err := c.ways(&n)
	if err != nil {
		return err
	}
	var wild []way
	for _, w := range ways {
		if special[w.by] {
			wild = append(wild, w)
		}
	}
	if err := c.behind(text, depth, n.count == 0 && len(wild) == len(ways), wild...); err != nil {
		return err
	}
	for _, w := range ways {
		if !special[w.by] {
			if err := c.literal(w.ref, w.p, append(text, w.by), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// behind takes in the wildcards behind a head: one star with text and more stars becomes the head's tail, all else a node. last
// says that no other head begins with it.
func (c *compiler) behind(text []byte, depth int, last bool, wild ...way) error {
	if len(wild) == 0 {
		return nil
	}
	if len(wild) == 1 && wild[0].by == '*' {
		first := len(c.a.endings)
		if few, err := c.few(wild[0].ref, wild[0].p, []byte{'*'}, first+maxEndings); err != nil {
			return err
		} else if few {
			h := head{values: uint32(first), tail: uint16(len(c.a.endings) - first)}
			if e := c.a.endings[first]; h.tail == 1 {
				h = head{values: e.values, tail: e.tail, count: e.count}
				c.a.endings = c.a.endings[:first]
			}
			return c.head(text, h, last)
		}
		c.a.endings = c.a.endings[:first]
	}
	place, err := c.choice(node{}, wild, depth)
	if err != nil {
		return err
	}
	return c.head(text, head{values: place}, last)
}

// maxEndings is the number of tails up to which trying each is quicker than the automaton.
const (
	maxEndings = 8
	maxParts   = 31 // of an ending
)

// few takes in what is below an offset in a node's prefix as endings, and reports whether there are no more than up to limit in all and
// nothing but text and stars in them. What was taken in before that was known is left to be forgotten.
func (c *compiler) few(ref, p uint32, text []byte, limit int) (bool, error) {
	if c.steps++; c.steps > len(c.t.data) {
		return false, errNotCompiled
	}
	n, err := c.t.read(ref)
	if err != nil {
		return false, err
	}
	prefix := c.t.data[p:n.prefixEnd]
	ways, err := c.ways(&n)
	if err != nil || bytes.IndexAny(prefix, "?[") >= 0 || bytes.Count(text, []byte{'*'}) > maxParts {
		return false, err
	}
	text = append(text, prefix...)
	if n.count > 0 {
		if len(c.a.endings) == limit {
			return false, nil
		}
		number, err := c.tail(text)
		if err != nil {
			return false, err
		}
		values, err := c.values(&n)
		if err != nil {
			return false, err
		}
		t := &c.a.tails[number]
		if len(t.parts) > maxParts {
			return false, nil
		}
		e := ending{tail: number, count: uint16(n.count), values: values, wanted: t.wanted()}
		if len(c.a.endings) > limit-maxEndings {
			last := &c.a.endings[len(c.a.endings)-1]
			for before := &c.a.tails[last.tail]; e.shared < min(e.wanted, last.wanted) && t.parts[e.shared] == before.parts[e.shared]; {
				e.shared++
			}
		}
		c.a.endings = append(c.a.endings, e)
	} else if len(ways) == 0 {
		return false, nil
	}
	for _, w := range ways {
		if w.by == '?' || w.by == '[' {
			return false, nil
		}
		if few, err := c.few(w.ref, w.p, append(text, w.by), limit); !few || err != nil {
			return false, err
		}
	}
	return true, nil
}

// head takes in a head, whose text is still to be put to the others'.
func (c *compiler) head(text []byte, h head, last bool) error {
	h.text, h.length, h.kind = uint32(len(c.text)), uint8(len(text)), uint8(len(text))
	if h.tail == 0 && h.count > 0 {
		h.kind = wholeKey
	}
	h.last = last
	h.bus = bytes.IndexByte(text, ':') >= 0 && !bytes.HasPrefix(text, []byte("symbol:"))
	h.plain = h.count > 0
	for i := 1; i < int(h.count); i++ {
		v := c.a.values[int(h.values)+i-1:]
		h.plain = h.plain && c.a.modules[v[0].module].priority < c.a.modules[v[1].module].priority
	}
	c.text = append(c.text, text...)
	if len(c.text) > 2*len(c.t.data) || len(c.a.heads) > slotPlace || bytes.IndexByte(text, '-') >= 0 {
		return errNotCompiled
	}
	c.a.heads = append(c.a.heads, h)
	return nil
}

// values takes in a node's values, and returns the place of the first.
func (c *compiler) values(n *trieNode) (uint32, error) {
	first := uint32(len(c.a.values))
	if n.count > 0xFFFF {
		return 0, errNotCompiled
	}
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
	t, start := tail{open: text[len(text)-1] == '*'}, 0
	for i, b := range text {
		if b >= 0x80 {
			return 0, errNotCompiled
		}
		if b == '*' {
			start = i + 1
		} else if i+1 == len(text) || text[i+1] == '*' {
			t.parts = append(t.parts, string(text[start:i+1]))
		}
	}
	i := uint16(len(c.a.tails))
	c.a.tails = append(c.a.tails, t)
	c.tails[string(text)] = i
	return i, nil
}
