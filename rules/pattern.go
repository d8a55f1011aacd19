package rules

import "strings"

// pattern is the value of a match, compiled.
type pattern struct {
	how     patternKind
	orEmpty bool // the empty string matches, too
	fold    bool // case does not count
	strip   bool // trailing white space of what is compared does not count (attributes only)
	members []member
}

type patternKind uint8

const (
	patternEmpty     patternKind = iota // the empty string
	patternList                         // any of the members
	patternSubsystem                    // "subsystem", "bus" and "class" mean the same
)

// member is one alternative of a pattern: literal text, or a glob whose text before the first special character is
// kept apart, since most globs fail there.
type member struct {
	prefix string
	rest   string // the glob behind the prefix; "" for a literal, "*" for anything
}

// compilePattern compiles value for a match of kind k. It returns the operator, too: "?*" is compiled as 'not the
// empty string', as udev does, which is another thing than a glob for keys that look at a set (TAG, SYMLINK), and which
// turns those around that compare nothing (TEST, IMPORT).
func compilePattern(k kind, o op, value string, fold bool) (pattern, op) {
	p := pattern{how: patternList, fold: fold}
	if value == "?*" {
		o ^= opNoMatch
	}
	if !k.splits() {
		return p, o
	}
	switch {
	case k == matchSubsystem && (value == "subsystem" || value == "bus" || value == "class"):
		p.how = patternSubsystem
	case value == "", value == "?*":
		p.how = patternEmpty
	}
	globs := strings.ContainsAny(value, globChars)
	for part := range strings.SplitSeq(value, "|") {
		if part == "" {
			p.orEmpty = true
			continue
		}
		p.members = append(p.members, compileMember(part, globs, fold))
	}
	if k == matchAttr || k == matchParentAttr {
		// udev looks at the end of the first alternative only.
		first := strings.TrimLeft(value, "|")
		first, _, _ = strings.Cut(first, "|")
		p.strip = first != "" && !isSpace(first[len(first)-1])
	}
	return p, o
}

func compileMember(text string, globs, fold bool) member {
	if !globs {
		return member{prefix: text}
	}
	special := strings.IndexAny(text, globChars+`\`)
	if special < 0 {
		return member{prefix: text}
	}
	rest := text[special:]
	if strings.Trim(rest, "*") == "" {
		rest = "*"
	}
	return member{prefix: text[:special], rest: rest}
}

func (m *member) match(s string, fold bool) bool {
	if len(s) < len(m.prefix) {
		return false
	}
	if fold {
		if !equalFold(s[:len(m.prefix)], m.prefix) {
			return false
		}
	} else if s[:len(m.prefix)] != m.prefix {
		return false
	}
	switch m.rest {
	case "":
		return len(s) == len(m.prefix)
	case "*":
		return true
	}
	return glob(m.rest, s[len(m.prefix):], fold)
}

// match says whether s matches, before the operator is looked at.
func (p *pattern) match(s string) bool {
	switch p.how {
	case patternEmpty:
		return s == ""
	case patternSubsystem:
		if p.fold {
			return equalFold(s, "subsystem") || equalFold(s, "bus") || equalFold(s, "class")
		}
		return s == "subsystem" || s == "bus" || s == "class"
	}
	if s == "" && p.orEmpty {
		return true
	}
	for i := range p.members {
		if p.members[i].match(s, p.fold) {
			return true
		}
	}
	return false
}
