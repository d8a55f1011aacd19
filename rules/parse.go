package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Set is what Parse read: the rules of a machine, in their order.
type Set struct {
	Files []*File
}

// File is one rules file.
type File struct {
	Name  string // as problems show it: the path
	Rules []*Rule
}

// Rule is one line of a rules file, as far as it counts.
type Rule struct {
	File string // the file's name
	Line int    // the first physical line
	Last int    // the last physical line, which is the number that udev prints
	Text string // as written, continued lines joined
	// Label is the LABEL of the line, Goto the label that it jumps to; "" for none.
	Label, Goto string

	name   string // file:line
	tokens []token
	target int // the index in its file of the rule to jump to, -1 for none
	uses   lineUse
	source logicalLine
}

// String returns file:line, as udev names a rule.
func (r *Rule) String() string { return r.name }

// lineUse says what a line does, so that one with nothing to do for an event is left out before anything is matched.
type lineUse uint8

const (
	useName   lineUse = 1 << iota // NAME=
	useNode                       // SYMLINK=, OWNER=, GROUP= or MODE=
	useStatic                     // OPTIONS+="static_node=…"
	useGoto
	useLabel
	useOther // everything else that is set, run or imported
)

// token is one key of a line.
type token struct {
	kind   kind
	op     op
	attr   string   // what stands in braces
	value  string   // what stands in quotes, escapes resolved
	name   template // of attr, for the keys in which substitutions in it count
	text   template // of value, for the keys that substitute
	match  pattern  // of value, for the keys that compare
	number int64    // an id, a mode, a priority, the bits of TEST{…}; -1 for an id that nobody has
	slot   int32    // of ENV's key: see Program.slots
	words  []string // of a builtin's line without substitutions
	once   int8     // which once-per-event builtin this is, -1 for none
	source string   // as written
	offset int      // in the line
}

// noID is the number of an OWNER or GROUP that nobody has.
const noID = -1

// ParseFile reads one file's text. name is what problems and traces call it.
func ParseFile(name string, text []byte) (*File, []Problem) {
	p := parser{file: &File{Name: name}}
	p.read(text)
	return p.file, p.problems
}

func (p *parser) read(text []byte) {
	lines := splitLines(text, func(bad Problem) {
		bad.File = p.file.Name
		p.problems = append(p.problems, bad)
	})
	for _, line := range lines {
		p.line(line)
	}
	p.phase = linking
	p.gotos()
}

type parser struct {
	file     *File
	rule     *Rule // the one that is read
	careful  bool  // look at style, too
	users    Users // whose names OWNER and GROUP may say; nil: they are not looked up
	phase    phase
	problems []Problem
}

// say adds a problem at an offset of the rule. udev is what udevadm verify says of it.
func (p *parser) say(severity Severity, offset int, udev, format string, args ...any) {
	line, column := p.rule.source.position(offset)
	p.problems = append(p.problems, Problem{
		File: p.file.Name, Line: line, Column: column, Rule: p.rule.Last,
		Severity: severity, Message: fmt.Sprintf(format, args...), Udev: udev, phase: p.phase,
	})
}

// lineError voids a line.
type lineError struct{ message, udev string }

func (e *lineError) Error() string { return e.message }

// void returns an error that voids the line. udev is what udevadm verify says of it.
//
//go:noinline // once in the program, not in each of its many callers
func void(udev, format string, args ...any) error {
	return &lineError{fmt.Sprintf(format, args...), udev}
}

func badOp(key string) string   { return "Invalid operator for " + key + "." }
func badAttr(key string) string { return "Invalid attribute for " + key + "." }

// line reads one rule. One bad key voids the whole line, its LABEL included.
func (p *parser) line(l logicalLine) {
	first, _ := l.position(0)
	p.rule = &Rule{File: p.file.Name, Line: first, Last: l.last, Text: l.text, target: -1, source: l}
	p.rule.name = p.file.Name + ":" + strconv.Itoa(l.last)
	for offset := 0; ; {
		if p.careful && offset < len(l.text) {
			p.separators(offset)
		}
		raw, ok, err := nextToken(l.text, offset)
		if err != nil {
			p.say(Error, raw.offset, "Invalid key/value pair, ignoring.", "%v; the line is ignored", err)
			return
		}
		if !ok {
			break
		}
		if err := p.token(raw); err != nil {
			udev := ""
			if bad := new(lineError); errors.As(err, &bad) {
				udev = bad.udev
			}
			p.say(Error, raw.offset, udev, "%v; the line is ignored", err)
			return
		}
		offset = raw.end
	}
	if p.rule.uses == 0 {
		p.say(Warning, 0, "The line has no effect, ignoring.", "the line sets nothing: it has no effect")
		return
	}
	if p.careful {
		p.resultOrder()
	}
	sortTokens(p.rule.tokens, func(a, b *token) bool { return a.kind < b.kind })
	p.file.Rules = append(p.file.Rules, p.rule)
}

// sortTokens sorts a line's few tokens, most of which are in their places. Equal ones keep their order.
func sortTokens(list []token, less func(a, b *token) bool) {
	for i := range list {
		at := i
		for at > 0 && less(&list[i], &list[at-1]) {
			at--
		}
		if at < i {
			t := list[i]
			copy(list[at+1:i+1], list[at:i])
			list[at] = t
		}
	}
}

// token reads one key. An error voids the line.
func (p *parser) token(raw rawToken) error {
	key, ok := keys[raw.key]
	if !ok {
		udev := fmt.Sprintf("Invalid key '%s'.", raw.key)
		if near := nearestKey(raw.key); near != "" {
			return void(udev, "unknown key %q (%s?)", raw.key, near)
		}
		return void(udev, "unknown key %q", raw.key)
	}
	if raw.fold && !raw.op.isMatch() {
		return void(fmt.Sprintf("Invalid prefix 'i' for '%s'. The 'i' prefix can be specified only for '==' or '!=' operator.", raw.key),
			`%s: the prefix i"…" works with == and != only`, raw.key)
	}
	if err := p.checkAttr(raw, key); err != nil {
		return err
	}
	o, err := p.checkOp(raw, key)
	if err != nil {
		return err
	}
	t := token{kind: key.assign, op: o, attr: raw.attr, value: raw.value, slot: -1, once: -1, offset: raw.offset}
	t.source = p.rule.Text[raw.offset:raw.end]
	if o.isMatch() {
		t.kind = key.match
	}
	switch raw.key {
	case "GOTO":
		if p.rule.Goto != "" || p.rule.uses&useGoto != 0 {
			p.say(Warning, raw.offset, fmt.Sprintf("Contains multiple GOTO keys, ignoring GOTO=\"%s\".", raw.value), "a second GOTO on one line is ignored")
			return nil
		}
		p.rule.Goto = raw.value
		p.rule.uses |= useGoto
		return nil
	case "LABEL":
		if p.rule.uses&useLabel != 0 {
			p.say(Warning, raw.offset, fmt.Sprintf("Contains multiple LABEL keys, ignoring LABEL=\"%s\".", p.rule.Label),
				"a second LABEL on one line takes the place of the first, %q", p.rule.Label)
		}
		p.rule.Label = raw.value
		p.rule.uses |= useLabel
		return nil
	case "PROGRAM", "IMPORT", "TEST":
		if raw.fold {
			return void("Invalid prefix 'i' for "+raw.key+".", `%s: the prefix i"…" does not work here`, raw.key)
		}
	case "NAME":
		if t.kind == setName && raw.value == "%k" {
			return void(`Ignoring NAME="%k", as it will take no effect.`, `NAME="%%k" has no effect`)
		}
		if t.kind == setName && raw.value == "" {
			return void(`Ignoring NAME="", as udev will not delete any network interfaces.`, `NAME="" has no effect: a network interface always has a name`)
		}
	case "ENV":
		if t.kind == setEnv && ofTheKernel[raw.attr] {
			return void(fmt.Sprintf("Invalid ENV attribute. '%s' cannot be set.", raw.attr), "ENV{%s} cannot be set: it is the kernel's or udev's own", raw.attr)
		}
	case "SUBSYSTEM":
		if raw.value == "bus" || raw.value == "class" {
			p.say(Warning, raw.offset, fmt.Sprintf(`"%s" must be specified as "subsystem".`, raw.value), "%q is an old word for \"subsystem\"", raw.value)
		}
	case "CONST":
		if raw.attr != "arch" && raw.attr != "virt" && raw.attr != "cvm" {
			return void(badAttr(raw.key), "CONST{%s}: there are arch, virt and cvm", raw.attr)
		}
	case "ATTRS":
		if strings.HasPrefix(raw.attr, "device/") {
			p.say(Warning, raw.offset, "'device' link may not be available in future kernels.", "the link \"device\" may be absent in another kernel")
		}
		if strings.Contains(raw.attr, "../") {
			p.say(Warning, raw.offset, "Direct reference to parent sysfs directory, may break in future kernels.", "a path to a parent's directory may lead elsewhere in another kernel")
		}
	}
	switch raw.key {
	case "IMPORT":
		if t.kind, ok = imports[raw.attr]; !ok {
			return void(badAttr(raw.key), "IMPORT{%s}: there are program, builtin, file, db, cmdline and parent", raw.attr)
		}
	case "RUN":
		switch {
		case raw.attr == "builtin":
			t.kind = runBuiltin
		case raw.hasAttr && raw.attr != "program":
			return void(badAttr(raw.key), "RUN{%s}: there are program and builtin", raw.attr)
		}
	case "OPTIONS":
		return p.option(t)
	}
	return p.finish(raw, t)
}

// checkAttr checks the presence of what stands in braces.
func (p *parser) checkAttr(raw rawToken, key keyRule) error {
	switch key.attr {
	case attrNone:
		if raw.hasAttr {
			return void(badAttr(raw.key), "%s takes no {%s}", raw.key, raw.attr)
		}
	case attrNeeded, attrFormat:
		if raw.attr == "" {
			return void(badAttr(raw.key), "%s needs a name in braces", raw.key)
		}
	}
	return nil
}

// checkOp checks the operator and returns the one that counts.
func (p *parser) checkOp(raw rawToken, key keyRule) (op, error) {
	o := raw.op
	allowed := true
	switch {
	case o.isMatch():
		allowed = key.match != noKind
	case key.assign == noKind:
		allowed = false
	case o == opRemove:
		allowed = key.remove
	case key.assign == keyGoto || key.assign == keyLabel:
		allowed = o == opAssign
	case o == opAdd && !key.add, o == opFinal && !key.final:
		p.say(Warning, raw.offset, key.takes(raw.key), "%s does not know %s: it is taken as =", raw.key, o)
		o = opAssign
	}
	if !allowed {
		return 0, void(badOp(raw.key), "%s does not take %s", raw.key, o)
	}
	if !o.isMatch() && key.match == key.assign {
		return opMatch, nil // PROGRAM="…" and IMPORT{…}="…" are matches
	}
	if raw.key == "OPTIONS" && o == opAdd {
		o = opAssign
	}
	return o, nil
}

// option reads the value of OPTIONS. One that is not known does not void the line.
func (p *parser) option(t token) error {
	name, value, hasValue := strings.Cut(t.value, "=")
	switch {
	case t.value == "string_escape=none":
		t.kind = setEscapeNone
	case t.value == "string_escape=replace":
		t.kind = setEscapeReplace
	case t.value == "db_persist":
		t.kind = setPersist
	case t.value == "watch":
		t.kind, t.number = setWatch, 1
	case t.value == "nowatch":
		t.kind, t.number = setWatch, 0
	case t.value == "dump":
		// udev 258's: it prints the event to the log. A trace shows more.
		t.kind, t.value = setLogLevel, "debug"
	case name == "static_node" && hasValue:
		t.kind, t.value = setStaticNode, value
	case name == "link_priority" && hasValue:
		n, err := parseNumber(value)
		if err != nil || n != int64(int32(n)) {
			return void(fmt.Sprintf("Failed to parse link priority '%s': Invalid argument", value), "OPTIONS: %q is no priority: it is a whole number", value)
		}
		t.kind, t.number = setPriority, n
	case name == "log_level" && hasValue:
		if value != "reset" && !isLogLevel(value) {
			return void(fmt.Sprintf("Failed to parse log level '%s': Invalid argument", value), "OPTIONS: %q is no log level", value)
		}
		t.kind, t.value = setLogLevel, value
	default:
		p.say(Warning, t.offset, fmt.Sprintf("Invalid value for OPTIONS key, ignoring: '%s'", t.value), "OPTIONS: %q is not known, it is ignored", t.value)
		return nil
	}
	p.add(t)
	return nil
}

func isLogLevel(s string) bool {
	switch s {
	case "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug":
		return true
	}
	n, err := strconv.Atoi(s)
	return err == nil && 0 <= n && n <= 7
}

// finish compiles a token's value and adds the token to the line.
func (p *parser) finish(raw rawToken, t token) error {
	switch t.kind {
	case matchTest:
		t.number = -1
		if raw.attr != "" {
			mode, err := parseMode(raw.attr)
			if err != nil {
				return void(fmt.Sprintf("Failed to parse mode '%s': Invalid argument", raw.attr), "TEST{%s}: %v", raw.attr, err)
			}
			t.number = mode
		}
	case setOwner, setGroup:
		if id, ok := parseID(t.value); ok {
			t.kind += setOwnerID - setOwner
			t.number = int64(id)
		} else if p.users != nil && !strings.ContainsAny(t.value, "%$") {
			p.lookUp(raw, t)
			t.text, _ = compileTemplate(t.value)
			p.add(t)
			return nil
		}
	case setMode:
		if mode, err := parseMode(t.value); err == nil {
			t.kind, t.number = setModeID, mode
		}
	case importProgram, importBuiltin, runBuiltin:
		line := strings.TrimLeft(t.value, blanks)
		name := firstWord(line)
		found := findBuiltin(name)
		if found < 0 {
			if t.kind == importProgram {
				break
			}
			udev := "Unknown builtin command: " + t.value
			if t.kind == runBuiltin {
				udev = fmt.Sprintf("Unknown builtin command '%s', ignoring.", t.value)
			}
			return void(udev, "unknown builtin %q", name)
		}
		if t.kind == importProgram {
			t.kind = importBuiltin
		}
		t.value = builtins[found].name + line[len(name):]
		if builtins[found].once && t.kind == importBuiltin {
			t.once = int8(found)
		}
	}
	if t.kind.isMatch() {
		t.match, t.op = compilePattern(t.kind, t.op, t.value, raw.fold)
	}
	if t.kind.substitutes() {
		nonEmpty := t.kind != setLink && t.kind != setName && t.kind != setEnv && t.kind != setAttr && t.kind != setSysctl
		if nonEmpty && t.value == "" {
			p.say(Error, raw.offset, fmt.Sprintf(`Invalid value "" for %s (char 0: empty value), ignoring.`, raw.key), "%s: the value is empty", raw.key)
		}
		var bad *badTemplate
		if t.text, bad = compileTemplate(t.value); bad != nil {
			p.say(Error, raw.valueAt+bad.offset, fmt.Sprintf(`Invalid value "%s" for %s (char %d: %s), ignoring.`, t.value, raw.key, bad.udevAt+1, bad.udev),
				"%s: %s", raw.key, bad.why)
		}
	}
	if t.kind == importBuiltin && t.text.plain && len(t.text.text) < lineSize {
		t.words = splitWords(t.text.text)
	}
	if keys[raw.key].attr == attrFormat {
		var bad *badTemplate
		if t.name, bad = compileTemplate(t.attr); bad != nil {
			p.say(Error, raw.offset, fmt.Sprintf(`Invalid attribute "%s" for %s (char %d: %s), ignoring.`, t.attr, raw.key, bad.udevAt+1, bad.udev),
				"%s{%s}: %s", raw.key, t.attr, bad.why)
		}
	}
	p.add(t)
	return nil
}

// lookUp says when nobody has the name of an OWNER or GROUP.
func (p *parser) lookUp(raw rawToken, t token) {
	what, find := "user", p.users.User
	if t.kind == setGroup {
		what, find = "group", p.users.Group
	}
	if _, err := find(t.value); err != nil {
		p.say(Error, raw.offset, fmt.Sprintf("Unknown %s '%s', ignoring.", what, t.value), "unknown %s %q: it is ignored", what, t.value)
	}
}

// substitutes says whether substitutions in the value of a token of this kind count.
func (k kind) substitutes() bool {
	switch k {
	case matchTest, matchProgram, importFile, importProgram, importBuiltin, importParent,
		setOwner, setGroup, setMode, setTag, setSecLabel, setEnv, setName, setLink, setAttr, setSysctl, runBuiltin, runProgram:
		return true
	}
	return false
}

func (p *parser) add(t token) {
	switch k := t.kind; {
	case k == setName:
		p.rule.uses |= useName
	case k == setLink, k >= setOwner && k <= setModeID:
		p.rule.uses |= useNode
	case k == setStaticNode:
		p.rule.uses |= useStatic
	case !k.isMatch(), k >= matchProgram && k <= importParent:
		p.rule.uses |= useOther
	}
	p.rule.tokens = append(p.rule.tokens, t)
}

// gotos finds each GOTO's target: the next line of the same file, further down, that has the label.
func (p *parser) gotos() {
	next := map[string]int{}
	targets := make([]int, len(p.file.Rules))
	for i, rule := range slices.Backward(p.file.Rules) {
		targets[i] = -1
		if rule.uses&useGoto != 0 {
			if target, ok := next[rule.Goto]; ok {
				targets[i] = target
			}
		}
		if rule.uses&useLabel != 0 {
			next[rule.Label] = i
		}
	}
	for i, rule := range p.file.Rules {
		if rule.uses&useGoto != 0 {
			if rule.target = targets[i]; rule.target < 0 {
				p.rule = rule
				p.say(Error, 0, fmt.Sprintf(`GOTO="%s" has no matching label, ignoring.`, rule.Goto), "GOTO=%q has no LABEL further down in this file: it is ignored", rule.Goto)
				rule.uses &^= useGoto
				rule.Goto = ""
				if rule.uses&^useLabel == 0 {
					p.say(Warning, 0, "The line has no effect any more, dropping.", "without its GOTO the line has no effect")
				}
			}
		}
	}
}

// parseMode reads an octal mode.
func parseMode(s string) (int64, error) {
	mode, err := strconv.ParseUint(strings.TrimLeft(s, blanks), 8, 32)
	if err != nil || mode > 0o7777 {
		return 0, fmt.Errorf("%q is no mode: it is an octal number up to 7777", s)
	}
	return int64(mode), nil
}

// parseNumber reads a whole number as strtol(3) with base 0 does: 0x…, 0…, and 0b… and 0o… as well.
func parseNumber(s string) (int64, error) {
	if strings.IndexByte(s, '_') >= 0 { // Go's
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseInt(strings.TrimLeft(s, blanks), 0, 64)
}

// parseID reads the number of a user or a group. What begins with a zero is a name, as are the two that mean nobody.
func parseID(s string) (uint32, bool) {
	id, err := strconv.ParseUint(s, 10, 32)
	return uint32(id), err == nil && (s == "0" || s[0] != '0') && id != math.MaxUint32 && id != math.MaxUint16
}

func firstWord(s string) string {
	if i := strings.IndexAny(s, blanks); i >= 0 {
		return s[:i]
	}
	return s
}

// nearestKey returns the key that s is a misspelling of, "" when none is near.
func nearestKey(s string) string {
	if len(s) < 3 {
		return ""
	}
	u := strings.ToUpper(s)
	best := ""
	for key := range keys {
		if distanceOne(u, key) && (best == "" || key < best) {
			best = key
		}
	}
	return best
}

// distanceOne says whether a and b are equal, or differ by one letter more, less, other or swapped.
func distanceOne(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch len(b) - len(a) {
	case 0:
		return i == len(a) || a[i+1:] == b[i+1:] ||
			i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
	case 1:
		return a[i:] == b[i+1:]
	}
	return false
}
