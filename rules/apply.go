package rules

import (
	"slices"
	"strings"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
)

// apply carries out a key that sets something. Whatever goes wrong with it is said, and the line goes on.
func (s *state) apply(t *token) {
	switch t.kind {
	case setEscapeNone:
		s.escape = escapeNone
	case setEscapeReplace:
		s.escape = escapeReplace
	case setPersist:
		s.res.Persist = true
		s.did("OPTIONS", "=", "db_persist")
	case setWatch:
		if !s.watchFinal {
			s.watchFinal = t.op == opFinal
			s.res.Watch = t.number == 1
			s.did("OPTIONS", "=", t.value)
		}
	case setPriority:
		s.res.Priority = int(t.number)
		s.did("OPTIONS", "=", t.value)
	case setOwner, setOwnerID:
		s.owner(t)
	case setGroup, setGroupID:
		s.group(t)
	case setMode, setModeID:
		s.mode(t)
	case setTag:
		s.tag(t)
	case setSecLabel:
		s.secLabel(t)
	case setEnv:
		s.setEnv(t)
	case setName:
		s.name(t)
	case setLink:
		s.link(t)
	case setAttr:
		s.setAttr(t)
	case setSysctl:
		s.setSysctl(t)
	case runBuiltin, runProgram:
		s.addRun(t)
	}
}

func (s *state) owner(t *token) {
	if s.ownerFinal {
		return
	}
	s.ownerFinal = t.op == opFinal
	if t.kind == setOwnerID {
		s.res.Node.UID = idOf(t.number)
	} else if id := s.lookUp(t, "user", s.host.User); id != nil {
		s.res.Node.UID = id
	} else {
		return
	}
	s.did("OWNER", "=", t.value)
}

func (s *state) group(t *token) {
	if s.groupFinal {
		return
	}
	s.groupFinal = t.op == opFinal
	if t.kind == setGroupID {
		s.res.Node.GID = idOf(t.number)
	} else if id := s.lookUp(t, "group", s.host.Group); id != nil {
		s.res.Node.GID = id
	} else {
		return
	}
	s.did("GROUP", "=", t.value)
}

func (s *state) lookUp(t *token, what string, find func(string) (uint32, error)) *uint32 {
	name, ok := s.expand(&t.text, nameSize, false)
	if !ok {
		return nil
	}
	id, isNumber := parseID(name)
	if isNumber {
		return &id
	}
	id, err := find(name)
	if err != nil {
		s.say(modload.LevelError, "unknown "+what+", ignored", what, name, "error", err)
		return nil
	}
	return &id
}

func (s *state) mode(t *token) {
	if s.modeFinal {
		return
	}
	s.modeFinal = t.op == opFinal
	bits := t.number
	if t.kind == setMode {
		text, ok := s.expand(&t.text, nameSize, false)
		if !ok {
			return
		}
		var err error
		if bits, err = parseMode(text); err != nil {
			s.say(modload.LevelError, "MODE ignored", "error", err)
			return
		}
	}
	mode := fileMode(bits)
	s.res.Node.Mode = &mode
	s.did("MODE", "=", t.value)
}

func (s *state) tag(t *token) {
	tag, ok := s.expand(&t.text, pathSize, false)
	if !ok {
		return
	}
	s.did("TAG", t.op.String(), tag)
	if t.op == opAssign {
		s.tags = s.tags[:0]
		s.past, s.forgetTags = nil, true
	}
	at := slices.Index(s.tags, tag)
	switch {
	case t.op == opRemove:
		if at >= 0 {
			s.tags = slices.Delete(s.tags, at, at+1)
			s.past = append(s.past, tag)
		}
	case !hotplug.ValidTag(tag):
		s.say(modload.LevelWarn, "not a name for a tag, ignored", "tag", tag)
	case at < 0:
		s.tags = append(s.tags, tag)
	}
}

func (s *state) secLabel(t *token) {
	label, ok := s.expand(&t.text, lineSize, false)
	if !ok {
		return
	}
	if label == "" {
		label = t.value
	}
	if s.res.Node.SecLabel == nil || t.op == opAssign {
		s.res.Node.SecLabel = map[string]string{}
	}
	s.res.Node.SecLabel[t.attr] = label
	s.did("SECLABEL{"+t.attr+"}", t.op.String(), label)
}

func (s *state) setEnv(t *token) {
	if t.value == "" {
		if t.op != opAdd {
			s.drop(t.attr, t.slot)
		}
		return
	}
	before := ""
	if t.op == opAdd {
		old, ok := s.get(t.attr, t.slot)
		if !ok {
			old, ok = s.host.Global(t.attr)
		}
		if ok {
			before = old + " "
		}
	}
	if len(before) >= nameSize {
		s.say(modload.LevelWarn, "the property is full, nothing added", "property", t.attr)
		return
	}
	value, ok := s.expand(&t.text, nameSize-len(before), false)
	if !ok {
		return
	}
	if s.escape == escapeReplace {
		value = replaceUnsafe(value, "")
	}
	s.set(t.attr, t.slot, before+value)
}

func (s *state) name(t *token) {
	if s.nameFinal {
		return
	}
	s.nameFinal = t.op == opFinal
	if s.dev.Ifindex() == 0 {
		s.say(modload.LevelError, "only network interfaces can be renamed, NAME is ignored", "name", t.value)
		return
	}
	name, ok := s.expand(&t.text, pathSize, false)
	if !ok {
		return
	}
	if s.escape != escapeNone {
		name = replaceInterface(name)
	}
	s.res.Name = name
	s.did("NAME", "=", name)
}

func (s *state) link(t *token) {
	if s.linkFinal || !s.hasNode {
		return
	}
	s.linkFinal = t.op == opFinal
	if t.op == opAssign || t.op == opFinal {
		s.links = s.links[:0]
	}
	text, ok := s.expand(&t.text, pathSize, s.escape != escapeNone)
	if !ok {
		return
	}
	switch s.escape {
	case escapeUnset:
		text = replaceUnsafe(text, "/ ")
	case escapeReplace:
		text = replaceUnsafe(text, "/")
	}
	for i := skipBlanks(text, 0); i < len(text); i = skipBlanks(text, i) {
		start := i
		for i < len(text) && strings.IndexByte(blanks, text[i]) < 0 {
			i++
		}
		s.oneLink(t, text[start:i])
	}
}

func (s *state) oneLink(t *token, word string) {
	name, ok := linkName(word)
	if !ok {
		s.say(modload.LevelWarn, "not a name for a link below /dev, ignored", "link", word)
		return
	}
	s.did("SYMLINK", t.op.String(), name)
	at := slices.Index(s.links, name)
	switch {
	case t.op == opRemove:
		if at >= 0 {
			s.links = slices.Delete(s.links, at, at+1)
		}
	case at < 0:
		s.links = append(s.links, name)
	}
}

// linkName returns the name below /dev that a word of SYMLINK stands for. A name with /dev/ in front is taken, any
// other absolute one is not, and none leads up.
func linkName(word string) (string, bool) {
	if clean(word) {
		return word, true
	}
	var parts []string
	for part := range strings.SplitSeq(word, "/") {
		switch part {
		case "", ".":
		case "..":
			return "", false
		default:
			parts = append(parts, part)
		}
	}
	if strings.HasPrefix(word, "/") {
		if len(parts) == 0 || parts[0] != "dev" {
			return "", false
		}
		parts = parts[1:]
	}
	return strings.Join(parts, "/"), len(parts) > 0
}

// clean says whether a name is relative and has no empty part, no . and no .. in it: the usual case.
func clean(word string) bool {
	for part := range strings.SplitSeq(word, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func (s *state) setAttr(t *token) {
	dev, name := s.dev, t.attr
	if strings.HasPrefix(name, "[") {
		if other, attr, ok, err := dev.Roots().ResolveAttr(name); ok && err == nil {
			dev, name = other, attr
		}
	}
	if strings.Contains("/"+name, "/*/") {
		found, ok := s.star(dev.Syspath() + "/" + name)
		if !ok {
			s.say(modload.LevelError, "nothing matches the attribute's path, ignored", "attribute", name)
			return
		}
		name = strings.TrimPrefix(found, dev.Syspath()+"/")
	}
	value, ok := s.expand(&t.text, nameSize, false)
	if !ok {
		return
	}
	s.did("ATTR{"+t.attr+"}", "=", value)
	if err := s.host.SetAttr(dev, name, value); err != nil {
		s.say(modload.LevelError, "cannot write the attribute", "attribute", name, "value", value, "error", err)
	}
}

func (s *state) setSysctl(t *token) {
	name, ok := s.expand(&t.name, pathSize, false)
	if !ok {
		return
	}
	value, ok := s.expand(&t.text, nameSize, false)
	if !ok {
		return
	}
	s.did("SYSCTL{"+name+"}", "=", value)
	if err := s.host.SetSysctl(sysctlName(name), value); err != nil {
		s.say(modload.LevelError, "cannot write the kernel parameter", "sysctl", name, "value", value, "error", err)
	}
}

func (s *state) addRun(t *token) {
	if s.runFinal {
		return
	}
	s.runFinal = t.op == opFinal
	if t.op == opAssign || t.op == opFinal {
		clear(s.run)
		s.run = s.run[:0]
	}
	command, ok := s.expand(&t.text, lineSize, false)
	if !ok {
		return
	}
	s.run = append(s.run, hotplug.Command{Builtin: t.kind == runBuiltin, Line: command, Rule: s.rule.String()})
	if t.kind == runBuiltin {
		s.did("RUN{builtin}", t.op.String(), command)
	} else {
		s.did("RUN{program}", t.op.String(), command)
	}
}
