package modload

import (
	"math/bits"
	"strings"
)

// An automaton is a trie in memory of its own, laid out for look-ups: [trie.compile] makes it of an index that many look-ups were made in.
// It gives what the walk through the file gives, some times as fast: nothing in it needs to be checked, a node with the choice among
// its children is half a cache line, and the many patterns that end alike, as all those with sv*sd*bc*sc*i* do, share that end.
//
// Debian's 26,180 aliases take about 1 MB. It never changes; any number of goroutines may search it.
type automaton struct {
	root    uint32
	nodes   []node
	kids    []uint32 // references: an index into nodes, or with leafBit into leaves
	leaves  []leaf
	sets    []setKid
	values  []value
	modules []rankedName
	tails   []tail
	text    string // of all nodes and leaves
}

const leafBit = 1 << 31

// A node is some literal text, then a choice: a bit for each 7-bit byte that leads on, *, ? and [ standing for themselves as patterns have
// them. The references stand in kids, in the order of the bits; that of [ is an index into sets.
type node struct {
	bits   [2]uint64
	text   uint32
	kids   uint32
	values uint32 // of the pattern that ends behind the text
	count  uint16 // of values
	length uint8  // of the text
	low    uint8  // bits set in bits[0]
}

// A leaf is how most patterns end: literal text, and what from the first star on many have in common.
type leaf struct {
	text, values uint32
	tail         uint16
	length       uint8
	count        uint8 // of values
}

// A setKid is one of the sets that patterns have at one place: what follows is matched behind each byte that is in it.
type setKid struct {
	bits [2]uint64
	high bool // bytes from 0x80 on are in it
	last bool // of the sets at this place
	kid  uint32
}

// A value is a pattern's module, and where the value stands in the file.
type value struct {
	offset, module uint32
}

type rankedName struct {
	name     string
	priority uint32
}

// A tail is the text between a pattern's stars, from its first star on.
type tail struct {
	parts []string
	open  bool // the pattern ends with a star
}

func (t *tail) match(s string) bool {
	parts := t.parts
	if !t.open {
		last := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		if !strings.HasSuffix(s, last) {
			return false
		}
		s = s[:len(s)-len(last)]
	}
	for _, p := range parts {
		i := find(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return true
}

// find is strings.Index for texts that are mostly near, as a field's name is behind the eight digits of another.
func find(s, text string) int {
	if len(text) == 0 {
		return 0
	}
	near, c := min(len(s)-len(text)+1, 12), text[0]
	for i := 0; i < near; i++ {
		if s[i] == c && s[i:i+len(text)] == text {
			return i
		}
	}
	if near < 12 {
		return -1
	}
	i := strings.Index(s[near:], text)
	if i < 0 {
		return -1
	}
	return near + i
}

const (
	starBit    = 1 << '*'
	anyBit     = 1 << '?'
	setBit     = 1 << ('[' - 64)
	wildLow    = starBit | anyBit
	searchHits = 28 // a processor has some twenty modules
	searchSeen = 40
)

// A search is one look-up under way in an automaton. As in a [walk], the first position in the key at which a star is reached is enough.
type search struct {
	*automaton
	key   string
	count int // hits
	seen  int // what is not to be matched again
	// repeats says that what is matched may be reached at several positions, since there is a star before it.
	repeats  bool
	overflow bool
	hitBuf   [searchHits]uint32 // values
	seenBuf  [searchSeen]uint32 // references
}

// run finds the values of every pattern that matches, in order of priority. It is false for what is left to the walk through the file: the
// rare key that leads to more than a search has room for, or to different modules of one priority.
func (s *search) run() bool {
	s.from(s.root, 0)
	if s.overflow {
		return false
	}
	for i := 1; i < s.count; i++ {
		v := s.hitBuf[i]
		m := s.values[v].module
		j := i
		for ; j > 0; j-- {
			o := s.values[s.hitBuf[j-1]].module
			if s.modules[o].priority < s.modules[m].priority {
				break
			}
			if s.modules[o].priority == s.modules[m].priority && o != m {
				return false
			}
			s.hitBuf[j] = s.hitBuf[j-1]
		}
		s.hitBuf[j] = v
	}
	return true
}

// from matches the key from k on against a node or leaf and what is below it.
func (s *search) from(ref uint32, k int) {
	key := s.key
	for ref&leafBit == 0 {
		n := &s.nodes[ref]
		if n.length > 0 {
			l := int(n.length)
			text := s.text[n.text : int(n.text)+l]
			if len(key)-k < l || key[k] != text[0] || l > 1 && key[k:k+l] != text {
				return
			}
			k += l
		}
		if n.bits[0]&wildLow|n.bits[1]&setBit != 0 {
			s.wild(n, k)
		}
		if k == len(key) {
			s.emit(n.values, int(n.count))
			return
		}
		c := key[k]
		if !n.leads(c) {
			return
		}
		ref = s.kids[n.place(c)]
		k++
	}
	s.leaf(ref, k)
}

// leads says whether the byte c itself leads on.
func (n *node) leads(c byte) bool {
	return c < 0x80 && n.bits[c>>6]>>(c&63)&1 != 0 && !special[c]
}

// place is that of c's reference in kids, for a byte that has one.
func (n *node) place(c byte) int {
	before := bits.OnesCount64(n.bits[c>>6] & (1<<(c&63) - 1))
	return int(n.kids) + before + int(c>>6)*int(n.low)
}

// wild goes where a node's wildcards lead, in the order * ? [.
func (s *search) wild(n *node, k int) {
	if n.bits[0]&starBit != 0 {
		s.star(s.kids[n.place('*')], k)
	}
	if k == len(s.key) {
		return
	}
	if n.bits[0]&anyBit != 0 {
		s.from(s.kids[n.place('?')], k+1)
	}
	if n.bits[1]&setBit != 0 {
		s.set(s.kids[n.place('[')], k)
	}
}

func (s *search) set(i uint32, k int) {
	c := s.key[k]
	for ; ; i++ {
		set := &s.sets[i]
		if c < 0x80 && set.bits[c>>6]>>(c&63)&1 != 0 || c >= 0x80 && set.high {
			s.from(set.kid, k+1)
		}
		if set.last {
			return
		}
	}
}

// leaf matches the rest of the key.
func (s *search) leaf(ref uint32, k int) {
	l := &s.leaves[ref&^leafBit]
	rest, length := s.key[k:], int(l.length)
	if l.tail == 0 {
		if len(rest) == length && rest == s.text[l.text:int(l.text)+length] {
			s.emit(l.values, int(l.count))
		}
		return
	}
	if len(rest) < length || rest[:length] != s.text[l.text:int(l.text)+length] || s.repeats && s.again(ref) {
		return
	}
	if s.tails[l.tail].match(rest[length:]) {
		s.emit(l.values, int(l.count))
	}
}

// star matches what follows a star, at every position of the key from k on.
func (s *search) star(ref uint32, k int) {
	if ref&leafBit != 0 {
		l := &s.leaves[ref&^leafBit]
		rest, text := s.key[k:], s.text[l.text:int(l.text)+int(l.length)]
		if l.tail == 0 {
			if strings.HasSuffix(rest, text) && !(s.repeats && s.again(ref)) {
				s.emit(l.values, int(l.count))
			}
			return
		}
		i := find(rest, text) // what matches behind a later place matches behind the first
		if i >= 0 && !(s.repeats && s.again(ref)) && s.tails[l.tail].match(rest[i+len(text):]) {
			s.emit(l.values, int(l.count))
		}
		return
	}
	if s.again(ref) {
		return
	}
	n := &s.nodes[ref]
	if n.length > 0 {
		text := s.text[n.text : int(n.text)+int(n.length)]
		if n.bits[0] == starBit && n.bits[1] == 0 && n.count == 0 { // from star to star the first place where the text is will do
			if i := find(s.key[k:], text); i >= 0 {
				s.wild(n, k+i+len(text))
			}
			return
		}
		before := s.repeats
		s.repeats = true
		if len(text) == 1 && n.bits[0]&wildLow|n.bits[1]&setBit == 0 && n.count == 0 {
			for at := k; at+1 < len(s.key); at++ {
				if s.key[at] == text[0] && n.leads(s.key[at+1]) {
					s.from(s.kids[n.place(s.key[at+1])], at+2)
				}
			}
			s.repeats = before
			return
		}
		for {
			i := find(s.key[k:], text)
			if i < 0 {
				break
			}
			k += i
			s.behind(n, k+len(text))
			k++
		}
		s.repeats = before
		return
	}
	if n.bits[0]&starBit != 0 {
		s.star(s.kids[n.place('*')], k)
	}
	before := s.repeats
	s.repeats = true
	wild := n.bits[0]&anyBit != 0 || n.bits[1]&setBit != 0
	for at := k; at < len(s.key); at++ {
		if wild {
			if n.bits[0]&anyBit != 0 {
				s.from(s.kids[n.place('?')], at+1)
			}
			if n.bits[1]&setBit != 0 {
				s.set(s.kids[n.place('[')], at)
			}
		}
		if c := s.key[at]; n.leads(c) {
			s.from(s.kids[n.place(c)], at+1)
		}
	}
	s.repeats = before
	s.emit(n.values, int(n.count))
}

// behind goes on behind a node's text.
func (s *search) behind(n *node, k int) {
	if n.bits[0]&wildLow|n.bits[1]&setBit != 0 {
		s.wild(n, k)
	}
	if k == len(s.key) {
		s.emit(n.values, int(n.count))
		return
	}
	if c := s.key[k]; n.leads(c) {
		s.from(s.kids[n.place(c)], k+1)
	}
}

// again says whether something behind a star was reached before, at an earlier position.
func (s *search) again(ref uint32) bool {
	for _, r := range s.seenBuf[:s.seen] {
		if r == ref {
			return true
		}
	}
	if s.seen == len(s.seenBuf) {
		s.overflow = true
		return true
	}
	s.seenBuf[s.seen] = ref
	s.seen++
	return false
}

func (s *search) emit(values uint32, n int) {
	if s.count+n > len(s.hitBuf) {
		s.overflow = true
		return
	}
	for i := range n {
		s.hitBuf[s.count] = values + uint32(i)
		s.count++
	}
}
