package modload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// depmodFile is one index file, or two that are made from the same lines. text and binary are "" where there is none.
type depmodFile struct {
	text, binary string
	make         func(d *depmod, wantBinary bool) (text string, entries []indexEntry, err error)
}

// depmodFiles are all the indexes there are, in the order in which depmod -n shows them.
func depmodFiles() []depmodFile {
	return []depmodFile{
		{"modules.dep", "modules.dep.bin", (*depmod).dependencies},
		{"modules.alias", "modules.alias.bin", (*depmod).aliases},
		{"modules.softdep", "", (*depmod).softdeps},
		{"modules.weakdep", "", (*depmod).weakdeps},
		{"modules.symbols", "modules.symbols.bin", (*depmod).symbolAliases},
		{"", "modules.builtin.bin", (*depmod).builtins},
		{"", "modules.builtin.alias.bin", (*depmod).builtinAliases},
		{"modules.devname", "", (*depmod).devnames},
	}
}

// show writes the text indexes one after another.
func (d *depmod) show() error {
	for _, f := range depmodFiles() {
		if f.text == "" {
			continue
		}
		text, _, err := f.make(d, false)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(d.Show, text); err != nil {
			return err
		}
	}
	return nil
}

// write makes all indexes under temporary names, then renames them.
func (d *depmod) write(ctx context.Context) (err error) {
	if d.OutDir != d.Dir {
		if err := os.MkdirAll(d.OutDir, 0o755); err != nil {
			return err
		}
	}
	dir, err := os.Open(d.OutDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	suffix := "." + strconv.Itoa(os.Getpid()) + ".new"
	files := depmodFiles()
	var names []string
	for _, f := range files {
		for _, name := range [...]string{f.text, f.binary} {
			if name != "" {
				names = append(names, name)
			}
		}
	}
	defer func() {
		if err != nil {
			for _, name := range names {
				os.Remove(filepath.Join(d.OutDir, name+suffix))
			}
		}
	}()
	removeLeftovers(d.OutDir, names)

	var synced errgroup.Group
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(d.Parallel)
	put := func(name string, data []byte) error {
		f, err := writeNew(filepath.Join(d.OutDir, name+suffix), data)
		if err != nil {
			return fmt.Errorf("could not create index %s: %w", name, cause(err))
		}
		// The disk is waited for beside the work, and for all files at once: one commit of its journal serves them all.
		synced.Go(func() error {
			err := errors.Join(f.Sync(), f.Close())
			if err != nil {
				return fmt.Errorf("could not write index %s: %w", name, cause(err))
			}
			return nil
		})
		return nil
	}
	for _, f := range files {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			text, entries, err := f.make(d, f.binary != "")
			if err != nil {
				return err
			}
			if f.text != "" {
				if err := put(f.text, []byte(text)); err != nil {
					return err
				}
			}
			if f.binary == "" {
				return nil
			}
			var index []byte
			if entries != nil {
				sortIndex(entries, d.duplicate(f.binary))
				index = appendIndex(nil, entries)
			}
			return put(f.binary, index)
		})
	}
	err = group.Wait()
	if serr := synced.Wait(); err == nil {
		err = serr
	}
	if err != nil {
		return err
	}
	lockTree(int(dir.Fd()), unix.LOCK_EX)
	for _, name := range names {
		if err := os.Rename(filepath.Join(d.OutDir, name+suffix), filepath.Join(d.OutDir, name)); err != nil {
			return err
		}
	}
	return dir.Sync()
}

// removeLeftovers removes what a run that was killed has left: our names with the number of a process that is no more.
func removeLeftovers(dir string, names []string) {
	for _, name := range names {
		old, _ := filepath.Glob(filepath.Join(dir, name+".*.new"))
		for _, path := range old {
			pid, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), name+"."), ".new"))
			if err != nil {
				continue
			}
			if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); errors.Is(err, fs.ErrNotExist) || pid == os.Getpid() {
				os.Remove(path)
			}
		}
	}
}

// writeNew writes a new file and leaves it open.
func writeNew(path string, data []byte) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// duplicate is what to do with an index entry that repeats another; nil when nobody asked.
func (d *depmod) duplicate(file string) func(indexEntry) {
	if !d.ReportDuplicates {
		return nil
	}
	switch file {
	case "modules.dep.bin":
		return func(e indexEntry) { d.Log.Warn("duplicate module deps:\n" + e.value) }
	case "modules.alias.bin":
		return func(e indexEntry) { d.Log.Warn("duplicate module alias:\n" + e.key + " " + e.value) }
	case "modules.symbols.bin":
		return func(e indexEntry) { d.Log.Warn("duplicate module syms:\n" + e.key + " " + e.value) }
	}
	return nil
}

// entry appends a line of a binary index, if it can be in one.
func (d *depmod) entry(entries []indexEntry, key, value string, priority int) []indexEntry {
	if !indexable(key) || !indexable(value) {
		d.Log.Error(fmt.Sprintf("Module index: only 7-bit ASCII is supported: %q %q", key, value))
		return entries
	}
	return append(entries, indexEntry{key, value, uint32(priority), uint32(len(entries))})
}

func (d *depmod) dependencies(wantBinary bool) (string, []indexEntry, error) {
	closure := closure{stamp: make([]int, len(d.modules))}
	lengths := make([]int, len(d.modules))
	size := 0
	for i, m := range d.modules {
		lengths[i] = len(m.rel) + 1
		for _, dep := range closure.of(m) {
			lengths[i] += 1 + len(dep.rel)
		}
		size += lengths[i] + 1
	}
	var b strings.Builder
	b.Grow(size)
	clear(closure.stamp)
	for _, m := range d.modules {
		b.WriteString(m.rel)
		b.WriteByte(':')
		for _, dep := range closure.of(m) {
			b.WriteByte(' ')
			b.WriteString(dep.rel)
		}
		b.WriteByte('\n')
	}
	text := b.String()
	if !wantBinary {
		return text, nil, nil
	}
	entries := make([]indexEntry, 0, len(d.modules))
	at := 0
	for i, m := range d.modules {
		entries = d.entry(entries, m.name, text[at:at+lengths[i]], m.index)
		at += lengths[i] + 1
	}
	return text, entries, nil
}

func (d *depmod) aliases(wantBinary bool) (string, []indexEntry, error) {
	count, size := 0, 64
	for _, m := range d.modules {
		m.values("alias", func(alias string) {
			count++
			size += len("alias  \n") + len(alias) + len(m.name)
		})
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString("# Aliases extracted from modules themselves.\n")
	entries := make([]indexEntry, 0, count)
	for _, m := range d.modules {
		m.values("alias", func(alias string) {
			b.WriteString("alias ")
			b.WriteString(alias)
			b.WriteByte(' ')
			b.WriteString(m.name)
			b.WriteByte('\n')
			if !wantBinary {
				return
			}
			key, ok := normalizeAlias(alias)
			if !ok {
				d.Log.Warn("Unmatched bracket in " + alias)
				return
			}
			entries = d.entry(entries, key, m.name, m.index)
		})
	}
	return b.String(), entries, nil
}

func (d *depmod) softdeps(bool) (string, []indexEntry, error) {
	return d.lines("softdep", "# Soft dependencies extracted from modules themselves.\n"), nil, nil
}

func (d *depmod) weakdeps(bool) (string, []indexEntry, error) {
	return d.lines("weakdep", "# Weak dependencies extracted from modules themselves.\n"), nil, nil
}

// lines lists the values of one key of .modinfo as lines of modprobe.d(5).
func (d *depmod) lines(key, comment string) string {
	var b strings.Builder
	b.WriteString(comment)
	for _, m := range d.modules {
		m.values(key, func(value string) { fmt.Fprintf(&b, "%s %s %s\n", key, m.name, value) })
	}
	return b.String()
}

func (d *depmod) symbolAliases(wantBinary bool) (string, []indexEntry, error) {
	s := &d.symbols
	ids := make([]uint32, 0, len(s.names)/2)
	size := 64
	for id, owner := range s.owner {
		if owner != nil {
			ids = append(ids, uint32(id))
			size += len("alias symbol: \n") + len(s.names[id]) + len(owner.name)
		}
	}
	sortAsHash(ids, 2048, func(id uint32) string { return s.names[id] })
	var b strings.Builder
	b.Grow(size)
	b.WriteString("# Aliases for symbols, used by symbol_request().\n")
	lines := make([]int, 0, len(ids)) // where each one's "symbol:" begins
	for _, id := range ids {
		b.WriteString("alias ")
		lines = append(lines, b.Len())
		b.WriteString("symbol:")
		b.WriteString(s.names[id])
		b.WriteByte(' ')
		b.WriteString(s.owner[id].name)
		b.WriteByte('\n')
	}
	text := b.String()
	if !wantBinary {
		return text, nil, nil
	}
	entries := make([]indexEntry, 0, len(ids))
	for i, id := range ids {
		key := text[lines[i]:][:len("symbol:")+len(s.names[id])]
		entries = d.entry(entries, key, s.owner[id].name, s.owner[id].index)
	}
	return text, entries, nil
}

// builtins indexes the names in modules.builtin, which the kernel's build has left. Without that file the index is empty: no header, no node.
func (d *depmod) builtins(bool) (string, []indexEntry, error) {
	data, err := os.ReadFile(filepath.Join(d.Dir, "modules.builtin"))
	if err != nil {
		d.Log.Warn(fmt.Sprintf("could not open modules.builtin at %s: %s", d.Dir, strerror(err)))
		return "", nil, nil
	}
	entries := []indexEntry{}
	for line := range strings.Lines(string(data)) {
		if c := line[0] | 0x20; c < 'a' || c > 'z' {
			d.Log.Error("Invalid modules.builtin line: " + line)
			continue
		}
		entries = d.entry(entries, moduleName(line), "", 0)
	}
	return "", entries, nil
}

// builtinAliases indexes the aliases in modules.builtin.modinfo: "module.key=value", each ended by a NUL.
func (d *depmod) builtinAliases(bool) (string, []indexEntry, error) {
	data, err := os.ReadFile(filepath.Join(d.Dir, "modules.builtin.modinfo"))
	if err != nil {
		d.Log.Warn(fmt.Sprintf("could not open modules.builtin.modinfo at %s: %s", d.Dir, strerror(err)))
		return "", nil, nil
	}
	entries := []indexEntry{}
	for line := range zeroTerminated(data) {
		module, rest, _ := bytes.Cut(line, []byte("."))
		alias, ok := bytes.CutPrefix(rest, []byte("alias="))
		if !ok || len(module) == 0 || len(alias) == 0 {
			continue
		}
		key, ok := normalizeAlias(string(alias))
		if !ok {
			d.Log.Warn("Unmatched bracket in " + string(alias))
			continue
		}
		entries = d.entry(entries, key, string(module), 0)
	}
	return "", entries, nil
}

// devnames lists the nodes that a module stands behind before it is loaded: "fuse fuse c10:229".
func (d *depmod) devnames(bool) (string, []indexEntry, error) {
	var b strings.Builder
	for _, m := range d.modules {
		var name, number string
		complete := false
		m.values("alias", func(alias string) {
			if complete {
				return
			}
			if n, ok := strings.CutPrefix(alias, "devname:"); ok {
				name = n
			} else if n, ok := deviceNumber(alias, "char-major-", "c"); ok {
				number = n
			} else if n, ok := deviceNumber(alias, "block-major-", "b"); ok {
				number = n
			}
			complete = name != "" && number != ""
		})
		switch {
		case complete:
			if b.Len() == 0 {
				b.WriteString("# Device nodes to trigger on-demand module loading.\n")
			}
			fmt.Fprintf(&b, "%s %s %s\n", m.name, name, number)
		case name != "":
			d.Log.Error(fmt.Sprintf("Module '%s' has devname (%s) but lacks major and minor information. Ignoring.", m.name, name))
		}
	}
	return b.String(), nil, nil
}

// deviceNumber reads "char-major-10-229" as "c10:229".
func deviceNumber(alias, prefix, kind string) (string, bool) {
	rest, ok := strings.CutPrefix(alias, prefix)
	if !ok {
		return "", false
	}
	digits := func(s string) int {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n
	}
	n := digits(rest)
	if n == 0 || n >= len(rest) || rest[n] != '-' {
		return "", false
	}
	k := digits(rest[n+1:])
	major, err1 := strconv.ParseUint(rest[:n], 10, 32)
	minor, err2 := strconv.ParseUint(rest[n+1:n+1+k], 10, 32)
	if err1 != nil || err2 != nil {
		return "", false
	}
	return fmt.Sprintf("%s%d:%d", kind, major, minor), true
}
