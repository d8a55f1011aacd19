package rules

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// CheckOptions say how closely CheckFile looks.
type CheckOptions struct {
	Users Users // whose names OWNER and GROUP may say; nil: they are not looked up
	// Strict also finds what udevadm verify does not: lines that can never match or that nothing leads to, GOTOs without effect,
	// programs that are not there, values that are not what they look like.
	Strict bool
	// Program says whether the program that a command line begins with is there. Nil means that programs are not looked for.
	Program func(command string) bool
}

// CheckFile reads a file as ParseFile does, and looks at its style and sense as well, as udevadm verify does.
func CheckFile(name string, text []byte, opts CheckOptions) (*File, []Problem) {
	p := parser{file: &File{Name: name}, careful: true, users: opts.Users}
	p.read(text)
	p.phase = reviewing
	for _, rule := range p.file.Rules {
		p.rule = rule
		if rule.uses&useLabel != 0 && !p.isTarget(rule) {
			p.say(Style, 0, fmt.Sprintf(`style: LABEL="%s" is unused.`, rule.Label), "nothing goes to LABEL=%q", rule.Label)
		}
		p.repeats(opts.Strict)
	}
	sort.SliceStable(p.problems, func(i, j int) bool {
		a, b := &p.problems[i], &p.problems[j]
		if a.phase != b.phase {
			return a.phase < b.phase
		}
		return a.phase == reading && a.Rule < b.Rule
	})
	if opts.Strict {
		p.strict(opts)
	}
	return p.file, p.problems
}

func (p *parser) isTarget(rule *Rule) bool {
	for _, other := range p.file.Rules {
		if other.target >= 0 && p.file.Rules[other.target] == rule {
			return true
		}
	}
	return false
}

// separators looks at what stands between two keys: one comma and white space behind it.
func (p *parser) separators(offset int) {
	line := p.rule.Text
	commas, before, after := 0, false, false
	i := offset
	for ; i < len(line); i++ {
		if line[i] == ',' {
			commas++
		} else if strings.IndexByte(blanks, line[i]) < 0 {
			break
		} else if commas > 0 {
			after = true
		} else {
			before = true
		}
	}
	say := func(bad bool, udev string) {
		if bad {
			p.say(Style, offset, "style: "+udev+".", "%s", udev)
		}
	}
	switch {
	case offset == 0:
		say(commas > 0, "stray leading comma")
	case i == len(line):
		say(commas > 0, "stray trailing comma")
	default:
		say(commas == 0, "a comma between tokens is expected")
		say(commas > 1, "more than one comma between tokens")
		say(commas > 0 && before, "stray whitespace before comma")
		say(commas > 0 && !after, "whitespace after comma is expected")
		say(commas == 0 && !before, "whitespace between tokens is expected")
	}
}

// resultOrder looks for a RESULT that stands before its PROGRAM. It works, and reads wrong.
func (p *parser) resultOrder() {
	seen := false
	for i := range p.rule.tokens {
		switch t := &p.rule.tokens[i]; {
		case t.kind == matchResult:
			seen = true
		case t.kind == matchProgram && seen:
			p.say(Warning, t.offset, "Reordering RESULT check after PROGRAM assignment.", "PROGRAM runs before the RESULT that stands in front of it")
			return
		}
	}
}

// repeats looks for keys of one line that say the same twice, or that cannot both hold. A plain value beside a glob is
// looked at when strict.
func (p *parser) repeats(strict bool) {
	tokens := p.rule.tokens
	twice, never := false, false
	for i := range tokens {
		for j := i + 1; j < len(tokens); j++ {
			a, b := &tokens[i], &tokens[j]
			same := sameTest(a, b)
			if !twice && same && a.op == b.op {
				twice = true
				p.say(Warning, b.offset, "duplicate expressions.", "%s says again what stands on the line already", b.source)
			}
			if !never && (same && a.op.isMatch() && b.op.isMatch() && a.op != b.op || !same && disjoint(a, b, strict)) {
				never = true
				p.say(Error, b.offset, "conflicting match expressions, the line has no effect.", "%s and %s never hold together: the line has no effect", a.source, b.source)
			}
		}
	}
}

// sameTest says whether two keys are the same but for their operators.
func sameTest(a, b *token) bool {
	if a.kind != b.kind || a.attr != b.attr || a.number != b.number {
		return false
	}
	if !a.kind.isMatch() || !a.kind.splits() {
		return a.value == b.value
	}
	x, y := &a.match, &b.match
	if x.how != y.how || x.fold != y.fold || x.orEmpty != y.orEmpty || x.strip != y.strip {
		return x.how == patternEmpty && y.how == patternEmpty && a.attr == b.attr
	}
	return x.how != patternList || contains(x, y) && contains(y, x)
}

func contains(x, y *pattern) bool {
	for _, m := range y.members {
		if !slices.Contains(x.members, m) {
			return false
		}
	}
	return true
}

// disjoint says whether two matches with == can surely not both hold.
func disjoint(a, b *token, strict bool) bool {
	x, y := &a.match, &b.match
	if !strict && strings.ContainsAny(a.value, globChars) != strings.ContainsAny(b.value, globChars) {
		return false
	}
	if a.kind != b.kind || a.attr != b.attr || !a.kind.splits() || !a.kind.isMatch() || a.op != opMatch || b.op != opMatch ||
		a.kind == matchTag || a.kind == matchLink || a.kind == matchParentTag ||
		x.how != patternList || y.how != patternList || x.fold || y.fold || x.orEmpty || y.orEmpty {
		return false
	}
	for _, m := range x.members {
		for _, n := range y.members {
			if overlap(m, n) {
				return false
			}
		}
	}
	return true
}

// overlap says whether there may be a text that both match.
func overlap(m, n member) bool {
	switch {
	case m.rest == "" && n.rest == "":
		return m.prefix == n.prefix
	case m.rest == "":
		return n.match(m.prefix, false)
	case n.rest == "":
		return m.match(n.prefix, false)
	}
	return strings.HasPrefix(m.prefix, n.prefix) || strings.HasPrefix(n.prefix, m.prefix)
}

// strict finds what is allowed, and surely not meant.
func (p *parser) strict(opts CheckOptions) {
	reached := p.reachable()
	for i, rule := range p.file.Rules {
		p.rule = rule
		if !reached[i] {
			p.say(Error, 0, "", "the line is never reached: a GOTO that always holds skips it")
		}
		if rule.target == i+1 {
			p.say(Warning, 0, "", "GOTO=%q goes to the next line, where it would go anyway", rule.Goto)
		}
		for j := range rule.tokens {
			p.strictToken(&rule.tokens[j], opts)
		}
	}
}

// reachable says of each line whether anything leads to it. A GOTO on a line without matches always holds.
func (p *parser) reachable() []bool {
	reached := make([]bool, len(p.file.Rules)+1)
	reached[0] = true
	for i, rule := range p.file.Rules {
		if !reached[i] {
			continue
		}
		always := rule.target >= 0 && !slices.ContainsFunc(rule.tokens, func(t token) bool { return t.kind.isMatch() })
		if rule.target >= 0 {
			reached[rule.target] = true
		}
		if !always {
			reached[i+1] = true
		}
	}
	return reached
}

// actions are all that the kernel says in ACTION.
var actions = []string{"add", "remove", "change", "move", "online", "offline", "bind", "unbind"}

func (p *parser) strictToken(t *token, opts CheckOptions) {
	switch t.kind {
	case matchAction:
		if t.match.how == patternList && t.op == opMatch && !slices.ContainsFunc(actions, t.match.match) {
			p.say(Error, t.offset, "", "%s never holds: the kernel says %s", t.source, strings.Join(actions, ", "))
		}
	case matchDevpath:
		if t.op == opMatch && t.match.how == patternList && !slices.ContainsFunc(t.match.members, func(m member) bool {
			return m.prefix == "" || m.prefix[0] == '/'
		}) {
			p.say(Error, t.offset, "", "%s never holds: the path begins with a slash", t.source)
		}
		for _, m := range t.match.members {
			if strings.HasPrefix(m.prefix, "/sys/") {
				p.say(Error, t.offset, "", "%s never holds: the path begins behind /sys", t.source)
			}
		}
	case matchEnv:
		if t.attr == "DEVNAME" && t.op == opMatch && t.match.how == patternList && !slices.ContainsFunc(t.match.members, func(m member) bool {
			return m.prefix == "" || m.prefix[0] == '/'
		}) {
			p.say(Error, t.offset, "", "%s never holds: DEVNAME begins with /dev/", t.source)
		}
	case matchTag, matchLink:
		if t.match.how == patternEmpty {
			p.say(Warning, t.offset, "", "%s looks at each one there is, and none is empty: it does not ask whether there is one", t.source)
		}
	case matchProgram, importProgram, runProgram:
		if opts.Program != nil && t.text.plain && !opts.Program(t.value) {
			p.say(Error, t.offset, "", "there is no program %q", firstWord(t.value))
		} else if opts.Program != nil && !t.text.plain && t.text.parts[0].what == substText && !opts.Program(t.text.parts[0].text) {
			p.say(Error, t.offset, "", "there is no program %q", firstWord(t.text.parts[0].text))
		}
	case setMode:
		if t.text.plain {
			p.say(Error, t.offset, "", "%q is no mode: it is an octal number up to 7777", t.value)
		}
	case setLink:
		for word := range strings.FieldsSeq(t.value) {
			if _, ok := linkName(word); !ok {
				p.say(Error, t.offset, "", "a link named %q would lie outside /dev: it is refused", word)
			}
		}
	}
	if t.kind.isMatch() && t.kind.splits() && t.kind != matchResult && strings.ContainsAny(t.value, "$%") {
		if tmpl, bad := compileTemplate(t.value); bad == nil && !tmpl.plain {
			p.say(Warning, t.offset, "", "%s: substitutions do not work in a value that is compared", t.source)
		}
	}
}
