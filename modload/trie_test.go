package modload

import (
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
)

// indexOf makes a binary index of lines "KEY VALUE", their order being their priority.
func indexOf(lines ...string) []byte {
	var entries []indexEntry
	for i, l := range lines {
		key, value, _ := strings.Cut(l, " ")
		entries = append(entries, indexEntry{key, value, uint32(i), uint32(i)})
	}
	sortIndex(entries, nil)
	return appendIndex(nil, entries)
}

func buildTrie(t testing.TB, lines ...string) *trie {
	t.Helper()
	tr, err := newTrie("test", indexOf(lines...))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func searchAll(t testing.TB, tr *trie, key string) []string {
	t.Helper()
	w := walk{data: tr.data, key: []byte(key)}
	if err := tr.search(&w); err != nil {
		t.Fatalf("search %q: %v", key, err)
	}
	var out []string
	for _, h := range w.hits() {
		s, err := tr.module(h.offset)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	a, err := tr.compile()
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	s, ok := searchCompiled(a, key)
	if !ok {
		return out
	}
	var compiled []string
	for _, v := range s.hitBuf[:s.count] {
		compiled = append(compiled, a.modules[a.values[v].module].name)
		if v := a.values[v]; !slices.ContainsFunc(w.hits(), func(h hit) bool { return h.offset == v.offset }) {
			t.Fatalf("%q gives the value at %d when compiled, and not in the file", key, v.offset)
		}
	}
	if !slices.Equal(out, compiled) {
		t.Fatalf("%q gives %q in the file, %q when compiled", key, out, compiled)
	}
	return out
}

// searchCompiled is a whole search in an automaton, however plain it is; false for what is left to the walk.
func searchCompiled(a *automaton, key string) (*search, bool) {
	s, p := &search{automaton: a, key: key}, probe{lengths: a.candidates(key)}
	first := a.next(key, &p)
	if first == nil {
		return s, true
	}
	return s, s.run(first, a.next(key, &p), &p)
}

func TestWildcardsMatchAsTheyAreWalked(t *testing.T) {
	tr := buildTrie(t,
		"char_major_116_* snd", "char_major_116_1 snd_seq", "usb:v046Dp*d* usb", "usb:v046DpC5[0-2]Bd* hid",
		"of:N*T*Cfsl,gpio a", "of:N*T*Cfsl,gpioC* b", "acpi*:PNP0A03:* pci", "a?c abc", "ab* ab", "* all", "x[ab]y set1", "x[ac]y set2", "x[!a]y set3")
	for key, want := range map[string]string{
		"char_major_116_1":                       "snd snd_seq all",
		"usb:v046DpC52Bd1201":                    "usb hid all",
		"usb:v046DpC53Bd1201":                    "usb all",
		"of:NgpioT(null)Cfsl,xCfsl,gpio":         "a all",
		"of:NgpioT(null)Cfsl,gpioCfsl,gpio":      "a b all",
		"of:NgpioT(null)Cfsl,gpioCfsl,gpio,more": "b all",
		"acpi:X:PNP0A03:Y:":                      "pci all",
		"abc":                                    "abc ab all",
		"ab":                                     "ab all",
		"":                                       "all",
		"xay":                                    "all set1 set2",
		"xcy":                                    "all set2 set3",
		"x]y":                                    "all set3",
	} {
		if got := strings.Join(searchAll(t, tr, key), " "); got != want {
			t.Errorf("%q gives %q, want %q", key, got, want)
		}
	}
}

// The parts of a tail are looked for behind numbers first, and found where they are all the same.
func TestTailIsFoundBesideNumbers(t *testing.T) {
	tr := buildTrie(t, "d:a*b*c* open", "e:a*b*c shut")
	for key, want := range map[string]string{
		"d:a12345678b12c1234": "open",
		"d:a1b2c":             "open",
		"d:a1b2c3456b":        "open", // a b where eight digits end, with the only c before it
		"d:a1c2b3456b":        "",
		"d:abc":               "open",
		"e:a12345678b12c":     "shut",
		"e:a1b2345678bc":      "shut",
		"e:a1b2c3456b":        "",
	} {
		if got := strings.Join(searchAll(t, tr, key), " "); got != want {
			t.Errorf("%q gives %q, want %q", key, got, want)
		}
	}
}

// A set of more bytes than anybody writes matches nothing, and what else the index holds is found.
func TestSetTooLong(t *testing.T) {
	tr := buildTrie(t, "a["+strings.Repeat("b", maxSet)+"]c long", "a[b]c set", "ab* star")
	w := walk{data: tr.data, key: []byte("abc")}
	if err := tr.search(&w); err != nil || w.count != 2 {
		t.Errorf("%d hits, %v", w.count, err)
	}
	if _, err := tr.compile(); err != errNotCompiled {
		t.Errorf("compile: %v", err)
	}
}

// Random patterns over a small alphabet, checked one by one with glob.
func TestSearchAgreesWithMatchingOneByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	word := func(alphabet string, n int) string {
		b := make([]byte, r.IntN(n))
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	for range 300 {
		var lines []string
		seen := map[string]bool{}
		for range 1 + r.IntN(40) {
			p := strings.NewReplacer("1", "[ab]", "2", "[!a]").Replace(word("aabbc**?12", 9))
			if !seen[p] {
				seen[p] = true
				lines = append(lines, p+" "+p)
			}
		}
		tr := buildTrie(t, lines...)
		for range 50 {
			key := word("abc", 10)
			var want []string
			for _, l := range lines {
				if p, _, _ := strings.Cut(l, " "); glob(p, key) {
					want = append(want, p)
				}
			}
			if got := searchAll(t, tr, key); !slices.Equal(got, want) {
				t.Fatalf("%q of %q gives %q, want %q", key, lines, got, want)
			}
		}
	}
}

func TestWalkYieldsAllKeys(t *testing.T) {
	lines := []string{"a x", "ab y", "abc z", "b* w", "" + "q v"}
	tr := buildTrie(t, lines...)
	var got []string
	if err := tr.all(func(key string, _ uint32, value string) bool {
		got = append(got, key+" "+value)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	if !slices.Equal(got, lines) {
		t.Errorf("got %q, want %q", got, lines)
	}
	for _, l := range lines {
		key, value, _ := strings.Cut(l, " ")
		if got, ok, err := tr.lookup(key); got != value || !ok || err != nil {
			t.Errorf("lookup(%q) = %q, %v, %v", key, got, ok, err)
		}
	}
	if _, ok, err := tr.lookup("abcd"); ok || err != nil {
		t.Errorf("lookup(abcd) = %v, %v", ok, err)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXbYbZ", false},
		{"[0-9]x", "3x", true}, {"[0-9]x", "ax", false}, {"[!0-9]x", "ax", true}, {"[]a]x", "]x", true}, {"[abc", "[abc", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {"??", "ab", true}, {"??", "a", false}, {"snd_*", "snd_hda_intel", true}, {"a-b", "a-b", true},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

func FuzzTrie(f *testing.F) {
	index := indexOf("pci:v*d*sv* a", "usb:v[0-9]* b", "a?b c", "** d", "*a*b*c e")
	f.Add(index, "pci:v1d2sv3")
	f.Add(index, "aabbcc")
	f.Add(index[:40], "a")
	f.Add([]byte("\xb0\x07\xf4\x57\x00\x02\x00\x01\xe0\x00\x00\x0c\x00**\x2a\x2a\xe0\x00\x00\x0c"), "aaaa")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		tr, err := newTrie("fuzz", data)
		if err != nil {
			return
		}
		w := walk{data: tr.data, key: []byte(key)}
		_ = tr.search(&w)
		for _, h := range w.hits() {
			_, _ = tr.module(h.offset)
		}
		if a, err := tr.compile(); err == nil {
			searchCompiled(a, key)
		}
		_, _, _ = tr.lookup(key)
		_ = tr.all(func(string, uint32, string) bool { return true })
	})
}

// Patterns, one a line, and what is looked up in them: the walk and the automaton give what matching them one by one gives.
func FuzzSearch(f *testing.F) {
	f.Add("pci:v*d*sv*\npci:v00008086d00001572sv*sd*bc*sc*i*", "pci:v00008086d00001572sv00000001sd00000002bc02sc00i00")
	f.Add("*a*b*c\n**\n*?b*\na[0-2]*[!b]c\n*[bc]*a*", "aabbcca1bc")
	f.Add("of:N*T*Cx,y\nof:N*T*Cx,yC*\nof:N*T*C*", "of:NnT(null)Cx,yCx,yCx,y")
	f.Add("pci*", "pci\x800")
	f.Add("_\na-[b-c]*", "-")
	f.Add("[ab]*\n[ac]*\n[]]\n*[ab][cd]*", "acbd]")
	f.Fuzz(func(t *testing.T, text, key string) {
		var lines []string
		for p := range strings.Lines(text) {
			p, ok := normalizeAlias(strings.TrimSuffix(p, "\n")) // as depmod writes them
			if !ok || len(lines) == 100 || !indexable(p) || strings.ContainsAny(p, "\\ ") || slices.Contains(lines, p+" "+p) || p == "" {
				continue
			}
			if len(p) > maxSet || strings.Count(p, "[") > 0 && !setsClose(p) {
				continue
			}
			lines = append(lines, p+" "+p)
		}
		if len(lines) == 0 || strings.Contains(key, "\x00") {
			return
		}
		tr := buildTrie(t, lines...)
		spelled, ok := normalizeAlias(key)
		if !ok { // no alias, but both forms take it alike
			spelled = strings.ReplaceAll(key, "-", "_")
		}
		var want []string
		for _, l := range lines {
			if p, _, _ := strings.Cut(l, " "); glob(p, spelled) {
				want = append(want, p)
			}
		}
		if got := searchAll(t, tr, spelled); !slices.Equal(got, want) {
			t.Fatalf("%q of %q gives %q, want %q", spelled, lines, got, want)
		}
		if !ok {
			want = nil
		}

		x := compiledIndex(t, tr)
		var got []string
		for m := range x.Match(key) {
			got = append(got, m.Module)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("an index with %q gives %q for %q, want %q", lines, got, key, want)
		}
	})
}

// compiledIndex is an index of nothing but aliases, compiled before the first look-up.
func compiledIndex(t testing.TB, aliases *trie) *Index {
	t.Helper()
	x := &Index{tree: &tree{}}
	x.setPolicy(&Policy{})
	for file, tr := range map[*indexFile]*trie{&x.tree.alias: aliases, &x.tree.builtinAlias: buildTrie(t)} {
		a, err := tr.compile()
		if err != nil {
			t.Fatal(err)
		}
		tr.compiled.Store(a)
		file.current.Store(tr)
	}
	return x
}

// What a compiled index is asked is spelled in any way: with dashes, with brackets, in bytes that are not ASCII, short or long.
func TestCompiledIndexTakesEverySpelling(t *testing.T) {
	x := compiledIndex(t, buildTrie(t, "bus:a_b one", "bus:a_b_* two", "bus:c* three", "bus*:d_e* four", "symbol:x five", "dmi* six"))
	for alias, want := range map[string]string{
		"bus:a-b": "one", "bus:a_b": "one", "bus:a-b-": "two", "bus:a-b-c-d": "two", "bus:a-b-c]": "", "bus:a-b-[c-d]": "two",
		"bus:c": "three", "bus:c-\x80": "three", "bus:\x80:d-e": "four", "bus:d-e" + strings.Repeat("-", 3000): "four",
		"symbol:x": "five", "symbol:y": "", "dmi": "six", "dmi-": "six", "dmi\x80": "six", "bus-a-b": "", "": "",
	} {
		got := ""
		for m := range x.Match(alias) {
			got += m.Module
		}
		if got != want {
			t.Errorf("%.20q gives %q, want %q", alias, got, want)
		}
	}
}

func TestCompiledIndexAllocatesNothing(t *testing.T) {
	x := compiledIndex(t, buildTrie(t, "bus:a_b one", "bus:a_b_* two", "input:b*e*_e*k* three"))
	for _, alias := range []string{"bus:a_b", "bus:a-b-c", "bus:x", "input:b0003e0-e1k2", "input:b0003e0-e" + strings.Repeat("1", 900) + "k"} {
		if n := testing.AllocsPerRun(100, func() {
			for range x.Match(alias) {
			}
		}); n > 0 {
			t.Errorf("%.20q: %v allocations", alias, n)
		}
	}
}

// The hot path by itself: a key's one head, several heads, a long key that is rewritten, and one that nobody knows.
func BenchmarkMatch(b *testing.B) {
	x := compiledIndex(b, buildTrie(b, "pci:v00008086d00001572sv*sd*bc*sc*i* i40e", "usb:v046Dp*d*dc*dsc*dp*ic03isc*ip*in* logitech",
		"usb:v046DpC52Bd*dc*dsc*dp*ic03isc01ip02in* receiver", "usb:v*p*d*dc*dsc*dp*ic03isc*ip*in* usbhid", "input:b*v*p*e*_e*1,*k*r*a*m*l*s*f*w* evdev"))
	for name, alias := range map[string]string{
		"pci":     "pci:v00008086d00001572sv00008086sd00000001bc02sc00i00",
		"usb":     "usb:v046DpC52Bd1201dc00dsc00dp00ic03isc01ip02in00",
		"input":   "input:b0003v046DpC52Be0111-e0,1,2,4,k71,72,73," + strings.Repeat("74,", 60) + "ram4,lsfw",
		"unknown": "pci:v00008086d00001573sv00008086sd00000001bc02sc00i00",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for range x.Match(alias) {
				}
			}
		})
	}
}

// setsClose says whether every set in a pattern has its end: what fnmatch makes of others is no alias's business.
func setsClose(pattern string) bool {
	for {
		_, rest, found := strings.Cut(pattern, "[")
		if !found {
			return true
		}
		end := setEnd(rest)
		if end == 0 {
			return false
		}
		pattern = rest[end:]
	}
}

// Texts are found where package strings finds them, at every length that has a way of its own.
func TestFind(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200_000 {
		key, text := make([]byte, r.IntN(150)), make([]byte, 1+r.IntN(5))
		rare := 2 + r.IntN(12) // letters, so that texts are near, far, or not there
		for i := range key {
			key[i] = byte('a' + r.IntN(rare))
		}
		for i := range text {
			text[i] = byte('a' + r.IntN(rare))
		}
		from := r.IntN(len(key) + 1)
		want := strings.Index(string(key[from:]), string(text))
		if want >= 0 {
			want += from
		}
		if got := find(string(key), from, string(text)); got != want {
			t.Fatalf("find(%q, %d, %q) = %d, want %d", key, from, text, got, want)
		}
	}
}
