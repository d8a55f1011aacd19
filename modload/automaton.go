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
	headTable
	nodes   []node
	kids    []uint32 // references: an index into nodes, or with leafBit into leaves
	leaves  []leaf
	sets    []setKid
	values  []value
	modules []rankedName
	tails   []tail
	endings []ending
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

// An ending is one of the few tails behind a head, in the trie's order: so it begins as the one before it does, for a while.
type ending struct {
	tail, count uint16
	values      uint32
	shared      uint8 // parts that are those of the ending before it, and are not the last of either
	wanted      uint8 // parts to be found, one behind the other
}

// A tail is the text between a pattern's stars, from its first star on.
type tail struct {
	parts []string
	open  bool // the pattern ends with a star
}

// wanted is the number of parts that have to be found somewhere: the last of a tail that is not open has to be at the end.
func (t *tail) wanted() uint8 {
	if t.open {
		return uint8(len(t.parts))
	}
	return uint8(len(t.parts) - 1)
}

// anyTail is the number of the tail that is nothing but a star.
const anyTail = 1

// match says whether the tail matches a key from a place on. Its parts are looked for one behind the other, first where the kernel's numbers of
// eight, two or four digits end: wherever they all are, the tail matches. Only if they are not, what was passed over that way counts.
func (t *tail) match(key string, from int) bool {
	parts := t.parts
	if !t.open {
		last := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		at := len(key) - len(last)
		if at < from || !stands(key, at, last) {
			return false
		}
		key = key[:at]
	}
	start, jumped := from, false
	for _, p := range parts {
		switch {
		case stands(key, from+8, p):
			from, jumped = from+8, true
		case stands(key, from+2, p):
			from, jumped = from+2, true
		case stands(key, from+4, p):
			from, jumped = from+4, true
		default:
			if from = find(key, from, p); from < 0 {
				return jumped && inTurn(parts, key, start)
			}
		}
		from += len(p)
	}
	return true
}

// inTurn says whether parts are in a key from a place on, one behind the other.
func inTurn(parts []string, key string, from int) bool {
	for _, p := range parts {
		if from = find(key, from, p); from < 0 {
			return false
		}
		from += len(p)
	}
	return true
}

// stands says whether a text stands at a place.
func stands(key string, at int, text string) bool {
	n := len(text)
	return at+n <= len(key) && key[at] == text[0] && key[at+n-1] == text[n-1] && (n <= 2 || key[at+1] == text[1] && (n == 3 || key[at:at+n] == text))
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

// run finds the values of every pattern that matches, behind the heads that a key has, of which two were found so far, in order of priority.
// It is false for what is left to the walk through the file: the rare key that leads to more than a search has room for, or to different
// modules of one priority.
func (s *search) run(first, second *head, p *probe) bool {
	s.behindHead(first)
	for ; second != nil; second = s.next(s.key, p) {
		s.behindHead(second)
	}
	return !s.overflow && s.sort()
}

func (s *search) behindHead(h *head) {
	switch rest := int(h.length); {
	case h.count == 0 && h.tail == 0:
		s.from(h.values, rest)
	case h.count == 0:
		s.few(s.endings[h.values:][:h.tail], s.key[rest:])
	case h.tail <= anyTail || s.tails[h.tail].match(s.key, rest):
		s.emit(h.values, int(h.count))
	}
}

// behind says whether the tail of a plain head matches what is behind it in a key: yielded, if so, and otherwise for what is not spelled as
// patterns are.
func (a *automaton) behind(h *head, key string) answer {
	from := int(h.length)
	switch {
	case from < len(key) && !asIs(key[from:]):
		return otherwise
	case h.tail == anyTail || a.tails[h.tail].match(key, from):
		return yielded
	}
	return nothing
}

// few tries endings. What is shared is looked for once.
func (s *search) few(endings []ending, rest string) {
	var behind [maxParts + 1]uint32 // each part of the last ending, as far as they were found; the first entry is for none of them
	found := uint8(0)
	for i := range endings {
		e := &endings[i]
		if e.shared > found {
			continue // for want of what was not found before
		}
		t := &s.tails[e.tail]
		found = e.shared
		at := int(behind[found])
		for ; found < e.wanted; found++ {
			i := find(rest, at, t.parts[found])
			if i < 0 {
				break
			}
			at = i + len(t.parts[found])
			behind[found+1] = uint32(at)
		}
		if found == e.wanted && (t.open || strings.HasSuffix(rest[at:], t.parts[found])) {
			s.emit(e.values, int(e.count))
		}
	}
}

// sort puts the hits in order of priority.
func (s *search) sort() bool {
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
	if s.tails[l.tail].match(s.key, k+length) {
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
		i := find(s.key, k, text) // what matches behind a later place matches behind the first
		if i >= 0 && !(s.repeats && s.again(ref)) && s.tails[l.tail].match(s.key, i+len(text)) {
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
			if i := find(s.key, k, text); i >= 0 {
				s.wild(n, i+len(text))
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
			if k = find(s.key, k, text); k < 0 {
				break
			}
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
