package rules

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// compare compares value with a token's pattern.
func (s *state) compare(t *token, value string) bool {
	if s.trace != nil {
		s.got = value
	}
	return t.match.match(value) == (t.op == opMatch)
}

// compareAny compares a set: == holds when one of values matches, != when none does.
func (s *state) compareAny(t *token, values []string) bool {
	if s.trace != nil {
		s.got = strings.Join(values, " ")
	}
	for _, value := range values {
		if t.match.match(value) {
			return t.op == opMatch
		}
	}
	return t.op == opNoMatch
}

// parents looks for the first device, the event's own and then those above it, for which all tokens hold. It returns
// nil when there is one, and else the token that failed at the last.
func (s *state) parents(tokens []token) *token {
	for dev := s.dev; ; {
		failed := s.holds(dev, tokens)
		if failed == nil {
			s.parent = dev
			return nil
		}
		if dev = dev.Parent(); dev == nil {
			s.parent = nil
			return failed
		}
	}
}

func (s *state) holds(dev *hotplug.Device, tokens []token) *token {
	s.parent = dev // a substitution in ATTRS{…} may ask for it
	for i := range tokens {
		t := &tokens[i]
		var ok bool
		switch t.kind {
		case matchParentKernel:
			ok = s.compare(t, dev.Sysname())
		case matchParentSubsystem:
			ok = s.compare(t, dev.Subsystem())
		case matchParentDriver:
			ok = s.compare(t, dev.Driver())
		case matchParentAttr:
			ok = s.compareAttr(t, dev)
		case matchParentTag:
			ok = s.compareAny(t, s.tagsOf(dev))
		}
		if !ok {
			return t
		}
	}
	return nil
}

func (s *state) tagsOf(dev *hotplug.Device) []string {
	if dev == s.dev {
		return s.tags
	}
	if rec, err := dev.Record(); err == nil {
		return rec.CurrentTags
	}
	return nil
}

// test runs a match that concerns the event's device.
func (s *state) test(t *token) bool {
	switch t.kind {
	case matchDevpath:
		return s.compare(t, s.dev.Devpath())
	case matchLink:
		return s.compareAny(t, s.links)
	case matchName:
		return s.compare(t, s.res.Name)
	case matchEnv:
		return s.compare(t, s.getOrGlobal(t.attr, t.slot))
	case matchConst:
		return s.compare(t, s.host.Const(t.attr))
	case matchTag:
		return s.compareAny(t, s.tags)
	case matchDriver:
		return s.compare(t, s.dev.Driver())
	case matchAttr:
		return s.compareAttr(t, s.dev)
	case matchSysctl:
		return s.compareSysctl(t)
	case matchTest:
		return s.testFile(t)
	case matchProgram:
		return s.program(t)
	case matchResult:
		return s.compare(t, s.output)
	}
	return s.importInto(t) == (t.op == opMatch)
}

// compareAttr compares an attribute. One that is not there fails, whatever the operator is.
func (s *state) compareAttr(t *token, dev *hotplug.Device) bool {
	name, ok := s.expand(&t.name, pathSize, false)
	if !ok {
		return false
	}
	value, ok := s.attr(dev, name)
	if !ok {
		if s.trace != nil {
			s.got = "(no such attribute)"
		}
		return false
	}
	if t.match.strip {
		if len(value) >= nameSize {
			value = value[:nameSize-1]
		}
		value = trimRight(value)
	}
	return s.compare(t, value)
}

// attr reads an attribute of dev, or of the device that the name begins with: "[subsystem/kernel]name". Of a device
// that is there, such a name reads as "" when the attribute is not.
func (s *state) attr(dev *hotplug.Device, name string) (string, bool) {
	if strings.HasPrefix(name, "[") {
		other, attr, ok, err := dev.Roots().ResolveAttr(name)
		if !ok || err != nil || attr == "" {
			return "", false
		}
		value, err := s.host.Attr(other, attr)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return "", false
		}
		if len(value) >= nameSize {
			value = value[:nameSize-1]
		}
		return value, true
	}
	value, err := s.host.Attr(dev, name)
	return value, err == nil
}

func (s *state) compareSysctl(t *token) bool {
	name, ok := s.expand(&t.name, pathSize, false)
	if !ok {
		return false
	}
	value, err := s.host.Sysctl(sysctlName(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.say(modload.LevelError, "cannot read the kernel parameter", "sysctl", name, "error", err)
		return false
	}
	return s.compare(t, strings.TrimFunc(value, func(r rune) bool { return r < 128 && isSpace(byte(r)) }))
}

// sysctlName turns a name with dots into one with slashes; in one that is written with slashes first, dots are part of
// names. See sysctl.d(5).
func sysctlName(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '/' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, name)
}

// testFile says whether a file is there, with any of the mode's bits when the token has some.
func (s *state) testFile(t *token) bool {
	name, ok := s.expand(&t.text, pathSize, false)
	if !ok {
		return false
	}
	if !strings.HasPrefix(name, "/") {
		name, ok = s.below(name)
		if !ok {
			return false
		}
	}
	if s.trace != nil {
		s.got = name
	}
	name, ok = s.star(name)
	if !ok {
		return t.op == opNoMatch
	}
	mode, err := s.dev.Roots().Stat(name)
	if err != nil {
		return t.op == opNoMatch
	}
	if t.number < 0 {
		return t.op == opMatch
	}
	return (modeBits(mode)&t.number != 0) == (t.op == opMatch)
}

// below returns the path of a name below the device's directory, or below that of the device that it begins with:
// "[subsystem/kernel]name", "[subsystem/kernel]".
func (s *state) below(name string) (string, bool) {
	if strings.HasPrefix(name, "[") {
		if other, rest, ok, err := s.dev.Roots().ResolveAttr(name); ok && err == nil {
			if rest == "" {
				return other.Syspath(), true
			}
			name = other.Syspath() + "/" + rest
			return name, len(name) < pathSize
		}
	}
	name = s.dev.Syspath() + "/" + name
	return name, len(name) < pathSize
}

// star resolves the first "/*/" of a path to the first directory in which what follows is there.
func (s *state) star(name string) (string, bool) {
	before, after, ok := strings.Cut(name, "/*/")
	if !ok {
		return name, true
	}
	roots := s.dev.Roots()
	names, err := roots.ReadDir(before)
	if err != nil {
		return "", false
	}
	for _, entry := range names {
		if entry[0] == '.' {
			continue
		}
		found := before + "/" + entry + "/" + after
		if _, err := roots.Stat(found); err == nil {
			return found, true
		}
	}
	return "", false
}

// modeBits turns Go's mode into stat(2)'s low bits.
func modeBits(m fs.FileMode) int64 {
	bits := int64(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// program runs PROGRAM and keeps what it printed for RESULT and $result.
func (s *state) program(t *token) bool {
	s.output, s.hasOutput = "", false
	command, ok := s.expand(&t.text, lineSize, false)
	if !ok {
		return false
	}
	out, err := s.host.Program(s.ctx, command, s.env(), s.rule.String())
	if err != nil {
		s.say(programLevel(err), "PROGRAM failed", "command", command, "error", err)
		return t.op == opNoMatch
	}
	if len(out) >= lineSize {
		out = out[:lineSize-1]
	}
	s.output, s.hasOutput = replaceUnsafe(strings.TrimRight(out, "\n"), allowInput), true
	s.did("PROGRAM", " printed ", s.output)
	return t.op == opMatch
}

// env returns the environment of a program: the event's properties, but for those whose name begins with a dot.
func (s *state) env() []string {
	env := make([]string, 0, len(s.props)+4)
	env = append(env, "UDEV_DATABASE_VERSION="+hotplug.DatabaseVersion)
	for i := range s.props {
		if p := &s.props[i]; !p.gone && p.key[0] != '.' {
			env = append(env, p.key+"="+p.value)
		}
	}
	for _, key := range [...]string{"DEVLINKS", "TAGS", "CURRENT_TAGS"} {
		if p := s.find(key, -1); p == nil || p.gone {
			if value, ok := s.get(key, -1); ok {
				env = append(env, key+"="+value)
			}
		}
	}
	return env
}
