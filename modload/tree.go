package modload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A tree is the index files of one directory, opened together.
type tree struct {
	dir string

	dep, alias, symbols, builtin, builtinAlias indexFile
	texts                                      map[string]string // of files that are not there

	mu       sync.Mutex
	problems []Problem
}

// An indexFile is one of a tree's binary indexes, or what stands in for it. Its zero value is an index of nothing.
type indexFile struct {
	tree    *tree
	name    string // "modules.alias"
	text    func(t *tree) ([]indexEntry, error)
	current atomic.Pointer[trie]
	mu      sync.Mutex // while it is mapped or replaced
	gone    bool       // it was replaced already
	held    *heldFile  // it is open and will be mapped when it is first needed
}

// A heldFile keeps one generation of a file: open at first, then mapped. It outlives its tree for just as long as the cleanup takes.
type heldFile struct {
	fd     int // -1 when it is closed
	mapped []byte
}

func (h *heldFile) release() {
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
	if h.mapped != nil {
		_ = unix.Munmap(h.mapped)
	}
}

// openTree opens the indexes of a directory. The error is for a directory that cannot be read; what is wrong with its files is among the
// tree's problems.
func openTree(dir string) (*tree, error) {
	t := &tree{dir: dir}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t, fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	lockTree(fd, unix.LOCK_SH)
	held := make([]*heldFile, 0, 5)
	missing := 0
	for _, f := range t.files() {
		f.tree = t
		file, err := unix.Openat(fd, f.name+".bin", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			f.held = &heldFile{fd: file}
			held = append(held, f.held)
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			t.problem(f.name+".bin", err.Error()+"; reading the text instead")
		} else if f == &t.dep || f == &t.alias {
			missing++
		}
	}
	if len(held) > 0 {
		runtime.AddCleanup(t, func(held []*heldFile) {
			for _, h := range held {
				h.release()
			}
		}, held)
	}
	if missing == 2 && !textThere(fd, "modules.dep") && !textThere(fd, "modules.alias") {
		return t, t.build()
	}
	for _, f := range t.files() {
		if f.held == nil && f.current.Load() == nil {
			f.fromText()
		}
	}
	return t, nil
}

// lockTree locks a tree's directory while its indexes are opened together or, by depmod, are put in place together: so nobody gets some of
// one generation and some of another. It waits no longer than a fifth of a second: anybody who may read the directory can hold its lock.
// kmod's depmod knows no lock; what it does meanwhile is found out afterwards, by a [Library].
func lockTree(dir, how int) {
	for range 200 {
		if unix.Flock(dir, how|unix.LOCK_NB) != unix.EWOULDBLOCK {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// files are the tree's indexes, and how each is made of text.
func (t *tree) files() []*indexFile {
	t.dep.name, t.dep.text = "modules.dep", depText
	t.alias.name, t.alias.text = "modules.alias", aliasText("modules.alias")
	t.symbols.name, t.symbols.text = "modules.symbols", aliasText("modules.symbols")
	t.builtin.name, t.builtin.text = "modules.builtin", builtinText
	t.builtinAlias.name, t.builtinAlias.text = "modules.builtin.alias", builtinAliasText
	return []*indexFile{&t.dep, &t.alias, &t.symbols, &t.builtin, &t.builtinAlias}
}

// read maps the file into memory, or reads it where it is small; nil for an empty one.
func (h *heldFile) read() (data []byte, err error) {
	defer func() {
		unix.Close(h.fd)
		h.fd = -1
	}()
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.New("not a regular file")
	}
	switch {
	case st.Size == 0 || st.Size > nodeOffset:
		return nil, nil
	case st.Size <= 16<<10:
		data = make([]byte, st.Size)
		n, err := unix.Pread(h.fd, data, 0)
		return data[:max(n, 0)], err
	}
	h.mapped, err = unix.Mmap(h.fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
	return h.mapped, err
}

func textThere(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, 0) == nil
}

func (t *tree) problem(name, text string) {
	t.mu.Lock()
	t.problems = append(t.problems, Problem{File: filepath.Join(t.dir, name), Text: text})
	t.mu.Unlock()
}

// allProblems are the problems so far, those of every file's header among them.
func (t *tree) allProblems() []Problem {
	if t.dir != "" {
		for _, f := range []*indexFile{&t.dep, &t.alias, &t.symbols, &t.builtin, &t.builtinAlias} {
			f.trie()
		}
	}
	return t.problemsSoFar()
}

func (t *tree) problemsSoFar() []Problem {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Problem(nil), t.problems...)
}

// damage is the error without its file, which a [Problem] names by itself.
func damage(err error) string {
	var d *DamagedIndexError
	if errors.As(err, &d) {
		return fmt.Sprintf("damaged at offset %d: %s", d.Offset, d.What)
	}
	return err.Error()
}

// path is a file of modules.dep as an absolute path: kmod takes one with a leading slash as it is.
func (t *tree) path(file string) string {
	if file == "" || file[0] == '/' {
		return file
	}
	return t.dir + "/" + file
}

// trie is the index, nil when there is none.
func (f *indexFile) trie() *trie {
	if tr := f.current.Load(); tr != nil {
		return tr
	}
	return f.first()
}

// compiled is the index as it is for many look-ups, nil before there were many.
func (f *indexFile) compiled() *automaton {
	if tr := f.current.Load(); tr != nil {
		return tr.compiled.Load()
	}
	return nil
}

// first maps the file.
func (f *indexFile) first() *trie {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil || f.current.Load() != nil {
		return f.current.Load()
	}
	held := f.held
	f.held = nil
	data, err := held.read()
	if err == nil && data == nil && (f == &f.tree.builtin || f == &f.tree.builtinAlias) {
		f.fill(nil) // depmod leaves it empty where there is no list of what is built in
		return f.current.Load()
	}
	var tr *trie
	if err == nil {
		tr, err = newTrie(filepath.Join(f.tree.dir, f.name+".bin"), data)
	}
	if err != nil {
		f.gone = true
		f.tree.problem(f.name+".bin", damage(err)+"; reading the text instead")
		f.fromText()
		return f.current.Load()
	}
	tr.files = held.mapped != nil
	f.current.Store(tr)
	return tr
}

// replace puts the text in place of a file that turned out to be damaged; of the text, nothing.
func (f *indexFile) replace(bad *trie, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current.Load() != bad {
		return // somebody else did
	}
	if f.gone {
		f.tree.problem(f.name, damage(err))
		f.fill(nil)
		return
	}
	f.gone = true
	f.tree.problem(f.name+".bin", damage(err)+"; reading the text instead")
	f.fromText()
}

// fromText makes the index of the text file.
func (f *indexFile) fromText() {
	entries, err := f.text(f.tree)
	if err != nil {
		f.tree.problem(f.name, err.Error())
	}
	f.fill(entries)
}

// fill makes the index of entries in memory.
func (f *indexFile) fill(entries []indexEntry) {
	for i := range entries {
		entries[i].seq = uint32(i)
	}
	entries = slices.DeleteFunc(entries, func(e indexEntry) bool { return !indexable(e.key) })
	sortIndex(entries, nil)
	tr, err := newTrie(filepath.Join(f.tree.dir, f.name), appendIndex(nil, entries))
	if err != nil {
		f.tree.problem(f.name, err.Error())
	}
	f.current.Store(tr)
}

// exact finds a key and gives the place of its values.
func (f *indexFile) exact(name string) (tr *trie, at uint32, ok bool) {
	for {
		tr := f.trie()
		if tr == nil {
			return nil, 0, false
		}
		at, ok, err := tr.exact(name)
		if err == nil {
			return tr, at, ok
		}
		f.replace(tr, err)
	}
}

// patternOf is the key of the value at an offset, or what is given in its place when the file has been replaced since.
func (f *indexFile) patternOf(at uint32, or string) string {
	defer runtime.KeepAlive(f.tree)
	if tr := f.trie(); tr != nil && int(at) < len(tr.data) {
		if p := tr.patternOf(at); p != "" {
			return p
		}
	}
	return or
}

// key returns the key in memory of its own, when it is there.
func (f *indexFile) key(name string) (string, bool) {
	if tr := f.trie(); tr != nil {
		if keys := tr.keys.Load(); keys != nil {
			s, ok := (*keys)[name]
			return s, ok
		}
		if tr.askedEnough() {
			tr.compileKeys()
		}
	}
	tr, at, ok := f.exact(name)
	if !ok {
		return "", false
	}
	if s, ok := tr.names.get(at); ok {
		return s, true
	}
	return tr.names.put(at, strings.Clone(name)), true
}

// value returns the first value of a key.
func (f *indexFile) value(name string) (string, bool) {
	for {
		tr := f.trie()
		if tr == nil {
			return "", false
		}
		v, ok, err := tr.lookup(name)
		if err == nil {
			return v, ok
		}
		f.replace(tr, err)
	}
}

// each calls do for every key and value. Where the file turns out to be damaged on the way, it goes on with the text, from the beginning.
func (f *indexFile) each(do func(key string, priority uint32, value string) bool) {
	for {
		tr := f.trie()
		if tr == nil {
			return
		}
		err := tr.all(do)
		if err == nil {
			return
		}
		f.replace(tr, err)
	}
}

func (f *indexFile) pairs(keep *tree) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		f.each(func(key string, _ uint32, value string) bool {
			return yield(strings.Clone(key), strings.Clone(value))
		})
		runtime.KeepAlive(keep)
	}
}

// lines calls do for every line of a text file of the tree that is no comment.
func (t *tree) lines(name string, do func(line string) error) error {
	data, err := readText(t.dir, name)
	if err != nil {
		return err
	}
	number := 0
	var first error
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimRight(line, "\n\r \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil && first == nil {
			first = fmt.Errorf("line %d: %w; skipped", number, err)
		}
	}
	return first
}

// depText reads modules.dep: "path: path path". The order of lines is that of modules.order.
func depText(t *tree) (entries []indexEntry, _ error) {
	err := t.lines("modules.dep", func(line string) error {
		file, _, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("no colon behind the module's path")
		}
		entries = append(entries, indexEntry{key: moduleName(file), value: line, priority: uint32(len(entries))})
		return nil
	})
	return entries, err
}

// aliasText reads modules.alias and modules.symbols: "alias PATTERN MODULE". The order of lines is that of priority.
func aliasText(name string) func(t *tree) ([]indexEntry, error) {
	return func(t *tree) (entries []indexEntry, _ error) {
		n, last := uint32(0), ""
		err := t.lines(name, func(line string) error {
			keyword, rest := word(line)
			pattern, rest := word(rest)
			module, _ := word(rest)
			if keyword != "alias" || module == "" {
				return errors.New("not 'alias PATTERN MODULE'")
			}
			pattern, ok := normalizeAlias(pattern)
			if !ok {
				return errors.New("bracket without its partner")
			}
			if module != last {
				n, last = n+1, module
			}
			entries = append(entries, indexEntry{key: pattern, value: module, priority: n})
			return nil
		})
		return entries, err
	}
}

// builtinText reads modules.builtin, which the kernel's build makes: a path a line.
func builtinText(t *tree) (entries []indexEntry, _ error) {
	err := t.lines("modules.builtin", func(line string) error {
		entries = append(entries, indexEntry{key: moduleName(line)})
		return nil
	})
	return entries, err
}

// builtinAliasText reads the aliases of modules.builtin.modinfo: "module.key=value", each ended by a NUL.
func builtinAliasText(t *tree) (entries []indexEntry, _ error) {
	data, err := readText(t.dir, "modules.builtin.modinfo")
	if err != nil {
		return nil, err
	}
	for record := range strings.SplitSeq(string(data), "\x00") {
		key, value, _ := strings.Cut(record, "=")
		module, ok := strings.CutSuffix(key, ".alias")
		if !ok || value == "" {
			continue
		}
		if pattern, ok := normalizeAlias(value); ok {
			entries = append(entries, indexEntry{key: pattern, value: module})
		}
	}
	return entries, nil
}

// build makes the indexes of a tree that has none, of what its modules say of themselves. Nothing is written.
func (t *tree) build() error {
	t.problem("modules.dep", "missing, and modules.dep.bin too: made in memory of the modules themselves; run kudev depmod")
	d := &depmod{DepmodOptions: DepmodOptions{
		Dir:      t.dir,
		Release:  filepath.Base(t.dir),
		Parallel: runtime.GOMAXPROCS(0),
		Log:      silent{},
	}}
	if err := d.find(context.Background()); err != nil {
		return fmt.Errorf("read the modules in %s: %w", t.dir, err)
	}
	d.order()
	d.resolve()
	if err := d.sort(); err != nil {
		return fmt.Errorf("order the modules in %s: %w", t.dir, err)
	}
	t.texts = map[string]string{}
	indexes := map[string]*indexFile{}
	for _, f := range t.files() {
		indexes[f.name+".bin"] = f
	}
	for _, f := range depmodFiles() {
		text, entries, err := f.make(d, f.binary != "")
		if err != nil {
			return fmt.Errorf("index the modules in %s: %w", t.dir, err)
		}
		if x := indexes[f.binary]; x != nil {
			x.gone = true
			x.fill(entries)
		} else {
			t.texts[f.text] = text
		}
	}
	return nil
}

// text is a text file of the tree, made in memory where the whole index is. A file that is not there is empty.
func (t *tree) text(name string) (string, error) {
	if text, ok := t.texts[name]; ok {
		return text, nil
	}
	data, err := readText(t.dir, name)
	return string(data), err
}
