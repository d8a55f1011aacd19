package modload

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"
)

// An Index is one whole generation of a tree: its aliases, dependencies, symbols and built-in modules, and the [Policy] that goes with
// them. It never changes; any number of goroutines may use it. Later generations come from a [Library].
//
// The binary indexes are mapped, not read. One that is missing or damaged is replaced by the text file beside it, and a tree without
// any index by what its modules say of themselves: [Index.Problems] tells.
type Index struct {
	tree   *tree
	policy *Policy

	configured bool // the policy has aliases and commands of its own
}

// Open opens the tree of a configuration, and reads its policy. paths replace the directories of modprobe.d(5), where there are any.
// Without a tree there is only the policy: the error is for a tree that is there and cannot be read, and satisfies
// errors.Is(err, ErrNoTree) where there is none; the index is good for its policy even so.
func Open(cfg *Config, paths ...string) (*Index, error) {
	x := &Index{tree: &tree{}}
	err := cfg.TreeError()
	if err == nil {
		x.tree, err = openTree(cfg.Tree())
	}
	x.setPolicy(readPolicy(cfg, x.tree, paths))
	return x, err
}

func (x *Index) setPolicy(p *Policy) {
	x.policy, x.configured = p, len(p.aliases)+len(p.install)+len(p.remove) > 0
}

// OpenDir opens the tree in a directory, which need not be one of the running kernel, without any policy but the tree's own softdeps.
func OpenDir(dir string) (*Index, error) {
	t, err := openTree(dir)
	x := &Index{tree: t}
	x.setPolicy(readModprobe(t, nil, ""))
	return x, err
}

// Dir is the tree's directory, "" when there is none.
func (x *Index) Dir() string { return x.tree.dir }

// Policy is what the index's owner wants done with its modules.
func (x *Index) Policy() *Policy { return x.policy }

// Problems are the files of the tree and of its policy that could not be used, with what was used in their place.
func (x *Index) Problems() []Problem { return append(x.tree.allProblems(), x.policy.problems...) }

// ProblemsSoFar are those of [Index.Problems] that have been come upon: files that nothing was looked for in are not opened for it.
func (x *Index) ProblemsSoFar() []Problem {
	return append(x.tree.problemsSoFar(), x.policy.problems...)
}

// logProblems says every problem once.
func (x *Index) logProblems(log Logger) {
	for _, p := range x.Problems() {
		log.Warn("configuration of modules", "problem", p.Error())
	}
}

// Via is the stage of a look-up that gave its result, in the order in which they are tried: the first with a result wins.
type Via uint8

const (
	ViaConfig       Via = iota + 1 // an alias line of modprobe.d
	ViaName                        // a module's own name
	ViaSymbol                      // symbol:NAME, a symbol that the module exports
	ViaCommand                     // an install or remove line of modprobe.d
	ViaAlias                       // an alias that the module brings along
	ViaBuiltIn                     // the name of a module that is built in
	ViaBuiltInAlias                // an alias of a module that is built in
)

func (v Via) String() string {
	return [...]string{"nothing", "alias line", "module name", "symbol", "command", "alias", "built-in module", "alias of a built-in module"}[v]
}

// A Match is a module that was found.
type Match struct {
	Module string
	Via    Via

	offset uint32 // of the value in its file; in the policy's aliases, its place
	index  *Index
}

// Pattern is the alias with its wildcards that led to the module; the module's name where there was none. It reads the index again.
func (m Match) Pattern() string {
	switch m.Via {
	case ViaConfig:
		return m.index.policy.aliases[m.offset].Name
	case ViaSymbol:
		return m.index.tree.symbols.patternOf(m.offset, m.Module)
	case ViaAlias:
		return m.index.tree.alias.patternOf(m.offset, m.Module)
	case ViaBuiltInAlias:
		return m.index.tree.builtinAlias.patternOf(m.offset, m.Module)
	}
	return m.Module
}

// Match yields the modules that an alias, a module's name or symbol:NAME stands for, in kmod's order: the stages are those of [Via],
// and the first with a result is the only one. A module that brings two matching aliases is there twice, as with kmod. It
// allocates nothing. Which of them may be loaded is not its affair.
//
// Source: kmod, libkmod-module.c, kmod_module_new_from_lookup.
func (x *Index) Match(alias string) iter.Seq[Match] {
	return func(yield func(Match) bool) { x.match(alias, yield) }
}

func (x *Index) match(alias string, yield func(Match) bool) {
	a := x.tree.alias.compiled()
	if a == nil || x.configured {
		x.matchStages(alias, yield)
		return
	}
	p := probe{lengths: a.candidates(alias)}
	first := a.next(alias, &p)
	var second *head
	if p.lengths != 0 {
		second = a.next(alias, &p)
	}
	answer := nothing
	switch {
	case first == nil:
	case second == nil && first.plain && first.bus: // as on most buses
		if answer = yielded; first.tail > 0 {
			answer = a.behind(first, alias)
		}
		if answer == yielded {
			for v := first.values; v < first.values+uint32(first.count); v++ {
				if !yield(a.matchOf(v, ViaAlias, x)) {
					return
				}
			}
			return
		}
		if answer == nothing {
			break
		}
		fallthrough
	default:
		if answer = x.searchBehind(a, ViaAlias, alias, false, first, second, &p, yield); answer == yielded {
			return
		}
	}
	if answer == nothing && hasBus(alias) {
		if b := x.tree.builtinAlias.compiled(); b != nil && x.searchCompiled(b, ViaBuiltInAlias, alias, false, yield) != otherwise {
			return
		}
	}
	x.matchStages(alias, yield)
}

// matchStages goes through all of the stages.
func (x *Index) matchStages(alias string, yield func(Match) bool) {
	if !asIs(alias) {
		var buf [2048]byte // the kernel's own limit
		var ok bool
		if alias, ok = withUnderscores(buf[:0], alias); !ok {
			return
		}
	}
	colon := strings.IndexByte(alias, ':') >= 0
	if len(x.policy.aliases) > 0 && x.matchConfig(alias, yield) {
		return
	}
	t := x.tree
	if !colon {
		if name, ok := t.dep.key(alias); ok {
			yield(Match{name, ViaName, 0, x})
			return
		}
	} else if strings.HasPrefix(alias, "symbol:") && x.search(&t.symbols, ViaSymbol, alias, yield) {
		return
	}
	if len(x.policy.install)+len(x.policy.remove) > 0 {
		place, ok := x.policy.install[alias]
		if !ok {
			place, ok = x.policy.remove[alias]
		}
		if ok {
			yield(Match{x.policy.lines[place].Name, ViaCommand, 0, x})
			return
		}
	}
	if x.search(&t.alias, ViaAlias, alias, yield) {
		return
	}
	if !colon {
		if name, ok := t.builtin.key(alias); ok {
			yield(Match{name, ViaBuiltIn, 0, x})
			return
		}
	}
	x.search(&t.builtinAlias, ViaBuiltInAlias, alias, yield)
	runtime.KeepAlive(x.tree) // and with it the mapped files
}

// matchConfig yields what the alias lines of modprobe.d have for an alias, and reports whether they have anything.
func (x *Index) matchConfig(alias string, yield func(Match) bool) (found bool) {
	for i := range x.policy.aliases {
		if l := &x.policy.aliases[i]; glob(l.Name, alias) {
			found = true
			if !yield(Match{l.Value, ViaConfig, uint32(i), x}) {
				break
			}
		}
	}
	return found
}

// search yields what one file has for an alias, and reports whether it has anything.
func (x *Index) search(f *indexFile, via Via, alias string, yield func(Match) bool) bool {
	if a := f.compiled(); a != nil {
		if answer := x.searchCompiled(a, via, alias, true, yield); answer != otherwise {
			return answer == yielded
		}
	}
	return x.searchFile(f, via, alias, yield)
}

// An answer is what came of a search in an automaton.
type answer uint8

const (
	nothing   answer = iota
	yielded          // something was found
	otherwise        // there may be something at an earlier stage, or in the file
)

// searchCompiled yields what an automaton has for an alias. staged says that the alias is known to be spelled as patterns are, and that the
// stages before this one had nothing for it.
func (x *Index) searchCompiled(a *automaton, via Via, alias string, staged bool, yield func(Match) bool) answer {
	p := probe{lengths: a.candidates(alias)}
	first := a.next(alias, &p)
	return x.searchBehind(a, via, alias, staged, first, a.next(alias, &p), &p, yield)
}

// searchBehind yields what is behind the heads that an alias has, of which two were found so far. It is apart so that others need not clear the
// room for many matches.
//
//go:noinline
func (x *Index) searchBehind(a *automaton, via Via, alias string, staged bool, first, second *head, p *probe, yield func(Match) bool) answer {
	if first == nil {
		return nothing
	}
	if !staged {
		if !first.bus && !hasBus(alias) {
			return otherwise
		}
		if n := len(alias); n > 512 && !asIs(alias) {
			return otherwise
		} else if !asIs(alias) {
			var buf []byte
			if n <= 64 { // less room is sooner cleared
				var b [64]byte
				buf = b[:0]
			} else {
				var b [512]byte
				buf = b[:0]
			}
			var ok bool
			if alias, ok = withUnderscores(buf, alias); !ok {
				return otherwise
			}
		}
	}
	s := search{automaton: a, key: alias}
	if !s.run(first, second, p) {
		return otherwise
	}
	for _, v := range s.hitBuf[:s.count] {
		if !yield(a.matchOf(v, via, x)) {
			break
		}
	}
	if s.count == 0 {
		return nothing
	}
	return yielded
}

func (a *automaton) matchOf(place uint32, via Via, x *Index) Match {
	v := &a.values[place]
	return Match{a.modules[v.module].name, via, v.offset, x}
}

// searchFile is search in the file itself.
func (x *Index) searchFile(f *indexFile, via Via, alias string, yield func(Match) bool) bool {
	for {
		tr := f.trie()
		if tr == nil {
			return false
		}
		if tr.askedEnough() {
			if a, err := tr.compile(); err == nil {
				tr.compiled.Store(a)
			}
		}
		w := walk{data: tr.data, key: unsafe.Slice(unsafe.StringData(alias), len(alias))}
		if err := tr.search(&w); err != nil {
			f.replace(tr, err)
			continue
		}
		for _, h := range w.hits() {
			name, err := tr.module(h.offset)
			if err != nil {
				f.replace(tr, err)
				return false
			}
			if !yield(Match{name, via, h.offset, x}) {
				return true
			}
		}
		return w.count > 0
	}
}

// An Entry is a module of the tree as its index has it.
type Entry struct {
	Name string
	Path string // of its file, absolute
	// Deps are the names of the modules that it needs, and of those that these need, the nearest first, as in modules.dep.
	Deps []string

	BuiltIn bool // into the kernel: there is no file
}

// Lookup returns the module of that very name, with _ for -; false when the tree has none. A built-in module has no path.
func (x *Index) Lookup(name string) (Entry, bool) {
	t := x.tree
	defer runtime.KeepAlive(t)
	if line, ok := t.dep.value(name); ok {
		file, deps, _ := strings.Cut(line, ":")
		e := Entry{Name: name, Path: t.path(file)}
		for d := range strings.FieldsSeq(deps) {
			e.Deps = append(e.Deps, moduleName(d))
		}
		return e, true
	}
	if x.BuiltIn(name) {
		return Entry{Name: name, BuiltIn: true}, true
	}
	return Entry{}, false
}

// BuiltIn says whether the tree's index names the module as built into its kernel.
func (x *Index) BuiltIn(name string) bool {
	_, ok := x.tree.builtin.key(name)
	runtime.KeepAlive(x.tree)
	return ok
}

// Modules yields every module that has a file, by name. The order is that of the names.
func (x *Index) Modules() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		t := x.tree
		defer runtime.KeepAlive(t)
		last := ""
		t.dep.each(func(key string, _ uint32, _ string) bool {
			if key == last {
				return true
			}
			last = strings.Clone(key)
			e, ok := x.Lookup(last)
			return !ok || yield(e)
		})
	}
}

// Aliases yields every alias of the tree's modules with its module, in byte order of the aliases, as modprobe -c shows them. Symbols yields
// symbol:NAME likewise, and BuiltIns the names of the modules that are built in.
func (x *Index) Aliases() iter.Seq2[string, string] { return x.tree.alias.pairs(x.tree) }

// Symbols yields symbol:NAME and the module that exports it.
func (x *Index) Symbols() iter.Seq2[string, string] { return x.tree.symbols.pairs(x.tree) }

// BuiltIns yields the names of the modules that are built in.
func (x *Index) BuiltIns() iter.Seq[string] {
	return func(yield func(string) bool) {
		for name := range x.tree.builtin.pairs(x.tree) {
			if !yield(name) {
				return
			}
		}
	}
}

// Refusal returns why a module may not be loaded, nil when it may: a [ForbiddenError]. alias is what it was asked for by, "" for its own
// name or as somebody's dependency. A forbid or allow line without wildcards that names an alias means the alias's modules too, however
// they are asked for.
func (x *Index) Refusal(module, alias string) error {
	if alias != "" {
		if a, ok := normalizeAlias(alias); ok {
			alias = a
		}
	}
	return x.policy.refusal(module, alias, func(a string) []string {
		var names []string
		if _, ok := x.Lookup(a); ok {
			return nil
		}
		for m := range x.Match(a) {
			names = append(names, m.Module)
		}
		return names
	})
}

// readText reads a file of the tree; a file that is not there is empty.
func readText(dir, name string) ([]byte, error) {
	data, err := readFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, name), err)
	}
	return data, nil
}
