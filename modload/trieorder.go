package modload

import "bytes"

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
