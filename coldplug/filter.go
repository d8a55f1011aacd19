package coldplug

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudev/kudev/hotplug"
)

// Filter keeps some devices of a walk. Its fields are udevadm trigger's options, and an empty one keeps all: see
// udevadm(8). Patterns are the shell's, and '*' crosses '/'. The fields hold together (and), the members of a field
// are alternatives (or), but for Attrs, where those of one name are alternatives and each name must hold.
type Filter struct {
	Subsystems   []string // --subsystem-match
	NoSubsystems []string // --subsystem-nomatch
	Attrs        []string // --attr-match: "name" or "name=pattern"
	NoAttrs      []string // --attr-nomatch
	Properties   []string // --property-match: "KEY=pattern", of the uevent file or of the record
	Tags         []string // --tag-match: current tags
	Sysnames     []string // --sysname-match
	Parents      []string // --parent-match and --name-match: devpaths; the device itself and all below it
	Initialized  *bool    // --initialized-match, --initialized-nomatch: whether a record says that it was handled
}

// Empty reports whether f keeps everything.
func (f *Filter) Empty() bool {
	return len(f.Subsystems)+len(f.NoSubsystems)+len(f.Attrs)+len(f.NoAttrs)+len(f.Properties)+len(f.Tags)+
		len(f.Sysnames)+len(f.Parents) == 0 && f.Initialized == nil
}

// Select returns those of items that f keeps, in their order.
func (f *Filter) Select(ctx context.Context, roots hotplug.Roots, items []Item) ([]Item, error) {
	if f.Empty() {
		return items, nil
	}
	for _, p := range f.Properties {
		if !strings.Contains(p, "=") {
			return nil, fmt.Errorf("property match %q: it is KEY=VALUE", p)
		}
	}
	var kept []Item
	for _, item := range items {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if f.keeps(roots, item) {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

func (f *Filter) keeps(roots hotplug.Roots, item Item) bool {
	// What costs no read comes first.
	if len(f.Subsystems) > 0 && !matchAny(f.Subsystems, item.Subsystem) {
		return false
	}
	if matchAny(f.NoSubsystems, item.Subsystem) {
		return false
	}
	if len(f.Sysnames) > 0 && !matchAny(f.Sysnames, item.Sysname) {
		return false
	}
	if len(f.Parents) > 0 && !below(f.Parents, item.Devpath) {
		return false
	}
	dir := sysdir(roots) + item.Devpath
	for _, a := range f.Attrs {
		name, _, _ := strings.Cut(a, "=")
		same := func(b string) bool { return b == name || strings.HasPrefix(b, name+"=") }
		if !slices.ContainsFunc(f.Attrs, func(b string) bool { return same(b) && hasAttr(dir, b) }) {
			return false
		}
	}
	for _, a := range f.NoAttrs {
		if hasAttr(dir, a) {
			return false
		}
	}
	if len(f.Properties) == 0 && len(f.Tags) == 0 && f.Initialized == nil {
		return true
	}
	dev, err := roots.Device(item.Devpath)
	if err != nil {
		return false
	}
	rec, err := dev.Record()
	if err != nil {
		rec = &hotplug.Record{}
	}
	if f.Initialized != nil && *f.Initialized != (err == nil) {
		return false
	}
	if len(f.Tags) > 0 && !hasTag(f.Tags, rec.CurrentTags) {
		return false
	}
	return len(f.Properties) == 0 || hasProperty(f.Properties, dev, rec)
}

func below(parents []string, devpath string) bool {
	for _, p := range parents {
		if devpath == p || strings.HasPrefix(devpath, strings.TrimSuffix(p, "/")+"/") {
			return true
		}
	}
	return false
}

func hasAttr(dir, match string) bool {
	name, want, hasValue := strings.Cut(match, "=")
	file := filepath.Join(dir, name)
	st, err := os.Lstat(file)
	if err != nil {
		return false
	}
	var value string
	switch {
	case st.Mode()&os.ModeSymlink != 0:
		to, err := os.Readlink(file)
		if err != nil {
			return false
		}
		value = filepath.Base(to)
	case st.IsDir():
		return false
	default:
		if st.Mode().Perm()&0o444 == 0 {
			return false
		}
		if value, err = readTrim(file); err != nil {
			return false
		}
	}
	return !hasValue || Glob(want, value)
}

func hasTag(want, have []string) bool {
	for _, t := range have {
		for _, w := range want {
			if t == w {
				return true
			}
		}
	}
	return false
}

func hasProperty(want []string, dev *hotplug.Device, rec *hotplug.Record) bool {
	for _, w := range want {
		k, pattern, _ := strings.Cut(w, "=")
		for _, p := range rec.Properties {
			if Glob(k, p.Key) && Glob(pattern, p.Value) {
				return true
			}
		}
		for key, value := range dev.Properties() {
			if Glob(k, key) && Glob(pattern, value) {
				return true
			}
		}
	}
	return false
}

func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if Glob(p, s) {
			return true
		}
	}
	return false
}

// Glob matches as fnmatch(3) without flags does: '*' and '?' match any character, '/' included, [...] with '!' or
// '^', and '\' takes the next character as it is.
func Glob(pattern, s string) bool {
	star, mark := -1, 0 // where to go on when a match fails behind a '*'
	p, i := 0, 0
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; c {
			case '*':
				star, mark = p, i
				p++
				continue
			case '?':
				p++
				i++
				continue
			case '[':
				if ok, n := class(pattern[p:], s[i]); n > 0 {
					if ok {
						p += n
						i++
						continue
					}
				} else if s[i] == '[' {
					p++
					i++
					continue
				}
			case '\\':
				if p+1 < len(pattern) && pattern[p+1] == s[i] {
					p += 2
					i++
					continue
				}
			default:
				if c == s[i] {
					p++
					i++
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// class matches c against the bracket expression at the start of p, and tells its length, 0 when it has no end.
func class(p string, c byte) (ok bool, n int) {
	i := 1
	not := i < len(p) && (p[i] == '!' || p[i] == '^')
	if not {
		i++
	}
	for first := true; i < len(p); first = false {
		lo := p[i]
		if lo == ']' && !first {
			return ok != not, i + 1
		}
		if lo == '\\' && i+1 < len(p) {
			i++
			lo = p[i]
		}
		i++
		hi := lo
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			hi = p[i+1]
			i += 2
		}
		if lo <= c && c <= hi {
			ok = true
		}
	}
	return false, 0
}
